import { expect, numbers, test } from './fixtures';

test('counts lead to the records they count', async ({ page, hub }) => {
  const overview = await hub.get('overview');
  await page.goto(`/districts/${hub.district}/overview`);
  const tile = (name: string) => page.getByRole('link', { name: new RegExp(`^${name}\\b`) });
  await expect(tile('Users')).toContainText(numbers.format(overview.roster.active.users));
  await expect(tile('Enrollments')).toContainText(
    numbers.format(overview.roster.active.enrollments),
  );

  const students = numbers.format(overview.roster.usersByRole.student);
  await expect(tile('Students')).toContainText(students);
  await tile('Students').click();
  await expect(page.getByText(new RegExp(`of ${students}$`)).first()).toBeVisible();
});

test('the last sync leads to what it did', async ({ page, hub }) => {
  const { lastSync } = await hub.get('overview');
  await page.goto(`/districts/${hub.district}/overview`);
  await page.getByRole('link', { name: 'See the details of this sync' }).click();
  await expect(page.getByRole('heading', { name: /^Sync of / })).toBeVisible();
  await expect(page.getByText('Completed').first()).toBeVisible();
  const users = page.getByRole('row', { name: /^Users/ });
  await expect(users).toContainText(numbers.format(lastSync.counts.users.received));
});

test('the last report is one click away', async ({ page, hub }) => {
  await page.goto(`/districts/${hub.district}/overview`);
  await page.getByRole('link', { name: 'See this report' }).click();
  await expect(page.locator('[data-check]').first()).toBeVisible();
});
