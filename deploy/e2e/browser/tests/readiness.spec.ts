import { readFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import { expect, type Hub, numbers, type Page, test } from './fixtures';

const s0 = [
  'student-email-missing',
  'student-guardians-missing',
  'student-email-duplicate',
  'teacher-email-duplicate',
  'admin-email-duplicate',
  'guardian-address-missing',
  'guardian-email-missing',
  'class-terms-missing',
  'class-course-missing',
  'teacher-enrollments-missing',
  'student-enrollments-missing',
  'enrollment-end-date-missing',
];

test('a report from the request to the CSV of one product', async ({ page, hub }) => {
  await page.goto('/');
  await expect(page.getByRole('table', { name: 'Readiness reports' })).toBeVisible();
  const before = await reportIds(page);

  await page.getByRole('button', { name: 'New Readiness Report' }).click();
  await expect.poll(async () => (await reportIds(page))[0]).not.toBe(before[0]);
  const [id = ''] = await reportIds(page);
  const row = page.getByRole('row', { name: id }).first();
  await expect(row.getByText('Completed')).toBeVisible();
  // The district's zone, which is neither the browser's nor UTC.
  await expect(row.getByText(/ (E|C|M|P)[SD]T$/)).toBeVisible();

  await page.getByRole('button', { name: `View report ${id}` }).click();
  const shown = await shownChecks(page);
  expect(shown.filter((check) => s0.includes(check ?? ''))).toEqual(s0);
  await expectFigures(page, hub, id, '');

  await page.getByRole('combobox', { name: 'For Product' }).selectOption({ label: 'On-Call' });
  await expect(page).toHaveURL(/product=on-call/);
  await expect(page.getByText(/for On-Call/)).toBeVisible();
  await expectFigures(page, hub, id, 'on-call');

  await page.getByRole('combobox', { name: 'For Product' }).selectOption({ label: 'Filter' });
  await expect(page.locator('[data-check="guardian-email-missing"]')).toHaveCount(0);
  await expectFigures(page, hub, id, 'filter');

  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: `Download CSV of report ${id}` }).click();
  const rows = await csv(await (await download).path());
  const { checks } = await hub.get(`readinessReports/${id}`, { product: 'filter' });
  for (const check of checks) {
    const found = rows.filter((row) => row['Check ID'] === check.checkId);
    expect(found.length, check.checkId).toBe(check.count + check.informationalCount);
  }
  const products = new Set(checks.map((check: any) => check.checkId));
  expect(rows.filter((row) => !products.has(row['Check ID']))).toEqual([]);
});

test('a check explains itself and leads to its records', async ({ page, hub }) => {
  const { readinessReports } = await hub.get('readinessReports', { pageSize: '1' });
  const report = await hub.get(`readinessReports/${readinessReports[0].reportId}`);
  const check = report.checks.find((result: any) => result.count > 0);
  await page.goto(`/districts/${hub.district}/readiness?report=${report.reportId}`);

  const line = page.locator(`[data-check="${check.checkId}"]`);
  await line.getByRole('button').first().click();
  for (const term of ['Affected products', 'Needs to be fixed', 'How to fix']) {
    await expect(line.getByText(term, { exact: true })).toBeVisible();
  }
  const total = numbers.format(check.count + check.informationalCount);
  await expect(line.getByText(new RegExp(`of ${total}$`))).toBeVisible();

  await line.getByRole('table').getByRole('link').first().click();
  await expect(page.getByRole('heading', { name: 'History' })).toBeVisible();
  await page.goBack();
  await expect(line.getByText('How to fix', { exact: true })).toBeVisible();
});

test('a refusal is shown and can be tried again', async ({ page, hub }) => {
  await page.route('**/readinessReports?*', (route) =>
    route.fulfill({
      status: 503,
      contentType: 'application/problem+json',
      body: JSON.stringify({ code: 503, reason: 'unavailable', message: 'Made up for a test.' }),
    }),
  );
  await page.goto(`/districts/${hub.district}/readiness`);
  await expect(page.getByRole('alert')).toContainText('Made up for a test.');
  await page.unroute('**/readinessReports?*');
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByRole('table', { name: 'Readiness reports' })).toBeVisible();
});

function reportIds(page: Page): Promise<string[]> {
  return page.locator('.reports .report-id').allInnerTexts();
}

async function shownChecks(page: Page): Promise<(string | null)[]> {
  await expect(page.locator('[data-check]').first()).toBeVisible();
  return page
    .locator('[data-check]')
    .evaluateAll((lines) => lines.map((line) => line.getAttribute('data-check')));
}

/** The figures on screen are those of the API. */
async function expectFigures(page: Page, hub: Hub, report: string, product: string) {
  const { checks } = await hub.get(`readinessReports/${report}`, { product });
  await expect(page.locator('[data-check]')).toHaveCount(checks.length);
  for (const check of checks) {
    const line = page.locator(`[data-check="${check.checkId}"]`);
    await expect(line.locator('.figure'), check.checkId).toHaveText(numbers.format(check.count));
    if (check.informationalCount > 0) {
      await expect(line.locator('.check-count')).toContainText(
        `${numbers.format(check.informationalCount)} informational`,
      );
    }
  }
}

async function csv(file: string): Promise<Record<string, string>[]> {
  return parse(await readFile(file), { columns: true, bom: true });
}
