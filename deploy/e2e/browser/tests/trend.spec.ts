import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('what got worse stands out, with its trend', async ({ page, district }) => {
  test.slow();
  await district.sync(roster(6));
  await district.sync(withoutEmails(roster(6), 2));
  await district.sync(withoutEmails(roster(6), 3));
  await expect
    .poll(async () => (await district.call('GET', '/readinessReports')).readinessReports[0])
    .toMatchObject({ revision: 3, state: 'COMPLETED' });

  await page.goto(`${district.path}/readiness`);
  await page.getByRole('button', { name: 'View report rev-3' }).click();
  await expect(page.getByText(/1 check got worse since revision 2/)).toBeVisible();
  const check = page.locator('[data-check="student-email-missing"]');
  await expect(check).toContainText('Worse 1 more than in the report before.');

  // Since any revision that is kept, named by the time on the district's clocks.
  const base = page.getByRole('combobox', { name: 'Compare with' });
  await expect(base.getByRole('option')).toHaveText([
    'The report before',
    /^Revision 2, .* (E|C|M|P)[SD]T$/,
    /^Revision 1, .* (E|C|M|P)[SD]T$/,
  ]);
  await base.selectOption('1');
  await expect(page).toHaveURL(/since=1/);
  await expect(
    page.getByText(/1 check got worse since revision 1, .* (E|C|M|P)[SD]T/),
  ).toBeVisible();
  await expect(check).toContainText('Worse 3 more than at revision 1.');
  await page.reload();
  await expect(check).toContainText('Worse 3 more than at revision 1.');
  await check.getByRole('button').first().click();
  await expect(
    check.getByRole('img', { name: /last 3 reports: 0 at first, 3 in the newest, 3 at most/ }),
  ).toBeVisible();
  const trend = check.getByRole('region', { name: 'Findings by report' }).getByRole('row');
  await expect(trend).toHaveCount(4);
  await expect(trend.nth(1)).toContainText(/3\s*3\s*0$/);
  await expectSound(page, 'readiness-trend');
});

test('what got better since an earlier revision, and a comparison that fails', async ({
  page,
  district,
}) => {
  test.slow();
  await district.sync(withoutEmails(roster(6), 3));
  await district.sync(withoutEmails(roster(6), 2));
  await expect
    .poll(async () => (await district.call('GET', '/readinessReports')).readinessReports[0])
    .toMatchObject({ revision: 2, state: 'COMPLETED' });
  await page.goto(`${district.path}/readiness?report=rev-2`);
  const base = page.getByRole('combobox', { name: 'Compare with' });
  await base.selectOption('1');
  await expect(page.getByText(/No check got worse since revision 1/)).toBeVisible();
  await expect(page.locator('[data-check="student-email-missing"]')).toContainText(
    '1 fewer than at revision 1.',
  );
  // What is related to an enrollment is its class.
  const enrollments = page.locator('[data-check="enrollment-end-date-missing"]');
  await enrollments.getByRole('button').first().click();
  await expect(enrollments.getByRole('row').nth(1).getByRole('link').last()).toHaveAttribute(
    'href',
    /classes/,
  );
  await base.selectOption('');
  await expect(page).not.toHaveURL(/since=/);

  await page.route('**/*:compare?*baseRevision=1*', (route) =>
    route.fulfill({
      status: 400,
      contentType: 'application/problem+json',
      body: JSON.stringify({ code: 400, message: 'Made up for a test.' }),
    }),
  );
  await page.goto(`${district.path}/readiness?report=rev-2&since=1`);
  await expect(page.getByRole('alert')).toContainText('Made up for a test.');
  await expect(page.locator('[data-check="student-email-missing"] .figure')).toHaveText('2');
});

test('a check is informational at one school, and off everywhere', async ({ page, district }) => {
  await district.sync(withoutEmails(roster(6), 4));
  await expect
    .poll(async () => (await district.call('GET', '/readinessReports')).readinessReports[0]?.state)
    .toBe('COMPLETED');
  await page.goto(`${district.path}/readiness`);
  await page.getByRole('link', { name: 'What counts' }).click();

  await page.getByRole('button', { name: 'Add exception' }).click();
  await expect(page.getByText('Choose a product or a school.')).toBeVisible();
  await page
    .getByRole('combobox', { name: 'School', exact: true })
    .selectOption({ label: 'North School' });
  await page.getByRole('button', { name: 'Add exception' }).click();
  await expect(page.getByText(/at North School: Informational/)).toBeVisible();
  await page.getByRole('textbox', { name: 'First day' }).fill('2030-07-01');
  await page.getByRole('textbox', { name: 'Last day' }).fill('2030-08-15');
  await page.getByRole('button', { name: 'Add rollover' }).click();
  await page
    .getByRole('combobox', { name: /^Findings of .*terms?/i })
    .first()
    .selectOption('OFF');
  await expect(page.getByText('There are changes that are not saved.')).toBeVisible();
  await expectSound(page, 'readiness-settings');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();

  const settings = await district.call('GET', '/readinessSettings');
  expect(settings.rules).toHaveLength(2);
  expect(settings.rules).toContainEqual(
    expect.objectContaining({ schoolId: 'north', mode: 'INFORMATIONAL' }),
  );
  expect(settings.rolloverWindows).toEqual([{ startDate: '2030-07-01', endDate: '2030-08-15' }]);

  // It counts in the report that is there.
  await page.getByRole('link', { name: 'Data Readiness' }).first().click();
  await page.getByRole('button', { name: /^View report/ }).click();
  const check = page.locator('[data-check="student-email-missing"]');
  await expect(check.locator('.figure')).toHaveText('2');
  await expect(check).toContainText('2 informational');
  await expect(page.getByText('Switched off').first()).toBeVisible();

  // And back again, to the last one.
  await page.getByRole('link', { name: 'What counts' }).click();
  await page
    .getByRole('button', { name: /^Remove/ })
    .first()
    .click();
  await page
    .getByRole('combobox', { name: /^Findings of .*terms?/i })
    .first()
    .selectOption('COUNTED');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
  expect((await district.call('GET', '/readinessSettings')).rules).toEqual([]);
});

test('a report that failed is tried again', async ({ page, district }) => {
  await district.sync(roster(2));
  await expect
    .poll(async () => (await district.call('GET', '/readinessReports')).readinessReports[0]?.state)
    .toBe('COMPLETED');
  // A real report, shown as failed: the hub knows better, and that is what is read then.
  await page.route('**/readinessReports/rev-1?*', failed);
  await page.route('**/readinessReports/rev-1', failed);
  await page.goto(`${district.path}/readiness?report=rev-1`);
  await expect(page.getByText('This report could not be finished.')).toBeVisible();
  await expect(page.getByText('The disk was full, made up for a test.')).toBeVisible();
  await page.getByRole('button', { name: 'Try report rev-1 again' }).click();
  await expect(page.getByRole('alert')).toContainText('Only a report that has failed');

  async function failed(route: import('@playwright/test').Route) {
    const answer = await route.fetch();
    const error = 'the disk was full, made up for a test';
    await route.fulfill({ json: { ...(await answer.json()), state: 'FAILED', checks: [], error } });
  }
});

/** A roster whose first students have no email. */
function withoutEmails(files: Record<string, string>, count: number): Record<string, string> {
  let users = files['users.csv'] ?? '';
  for (let i = 0; i < count; i++) users = users.replace(`,s${i}@maple.example`, ',');
  return { ...files, 'users.csv': users };
}
