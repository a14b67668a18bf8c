import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('schools are listed, those that need action first', async ({ page, district }) => {
  test.slow();
  await page.goto(`${district.path}/schools`);
  await expect(page.getByText('No schools yet')).toBeVisible();

  await district.sync(roster(80));
  await expect(page.getByRole('row', { name: /North School/ })).toContainText('Connected', {
    timeout: 45_000,
  });
  await expectSound(page, 'schools');

  // A file of which the south is as before.
  const files = roster(80);
  const north = /^(e-|student-)\d*[02468],.*\n/gm;
  const held = await district.sync({
    ...files,
    'users.csv': (files['users.csv'] ?? '').replace(north, ''),
    'enrollments.csv': (files['enrollments.csv'] ?? '').replace(north, ''),
  });
  expect(held.state).toBe('ON_HOLD');
  await page.reload();
  const rows = page.getByRole('table').getByRole('row');
  await expect(rows.nth(1)).toContainText('North School');
  await expect(rows.nth(1)).toContainText('On hold');
  await expectSound(page, 'schools-held');
  await rows.nth(1).getByRole('link', { name: 'Look at it and decide' }).click();
  await expect(page.getByText('This sync waits for a decision')).toBeVisible();
});

test('a school administrator sees the own school', async ({ page, district }) => {
  await district.sync(roster(4));
  // What such an account is told.
  await page.route(/\/v1\/me$/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), schools: ['north'] } });
  });
  await page.route(/\/schools:status/, async (route) => {
    const response = await route.fetch();
    const answer = await response.json();
    const schools = answer.schools.filter((school: any) => school.schoolId === 'north');
    await route.fulfill({ response, json: { ...answer, schools, sources: [] } });
  });
  await page.goto(`${district.path}/schools`);
  await expect(page.getByRole('heading', { name: 'Your schools' })).toBeVisible();
  await expect(page.getByRole('row', { name: /North School/ })).toBeVisible({ timeout: 45_000 });
  await expect(page.getByRole('link', { name: 'Sources' })).toHaveCount(0);
  await expectSound(page, 'schools-own');
});
