import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('a source shares some schools, as it was shown before', async ({ page, district }) => {
  test.slow();
  await district.sync(roster(6));
  await page.goto(`${district.path}/sources/sis/sharing`);
  await expect(page.getByText('All schools are shared.')).toBeVisible();
  await page.getByRole('checkbox', { name: 'North School' }).check();
  await page.getByRole('button', { name: 'Show what this keeps' }).click();
  const users = page.getByRole('row', { name: /^Users/ });
  await expect(users).toContainText('school: 3');
  await page.getByLabel('This school').selectOption('South School');
  await page.getByLabel('becomes part of').selectOption('North School');
  await page.getByRole('button', { name: 'Add these schools' }).click();
  await expect(
    page.getByRole('listitem').filter({ hasText: 'South School becomes part of North School' }),
  ).toBeVisible();
  await page.getByRole('button', { name: /^Remove South School/ }).click();
  await expectSound(page, 'source-sharing');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
  const { sharing } = await district.call('GET', '/sources/sis');
  expect(sharing.schools).toEqual(['north']);

  // The sync begins by itself, from what was delivered before.
  await page.getByRole('link', { name: 'See the status' }).click();
  const syncs = page.getByRole('region', { name: 'Table of syncs' }).getByRole('row');
  await expect(syncs).toHaveCount(3, { timeout: 30_000 });
  await expect(syncs.nth(1)).toContainText('On hold', { timeout: 30_000 });
  await syncs.nth(1).getByRole('link').click();
  await expect(page.getByText('Schools would go:')).toBeVisible();
  await expect(page.getByRole('heading', { name: 'What was shared' })).toBeVisible();
  await expectSound(page, 'sync-shared');
  await page.getByRole('button', { name: /^Approve/ }).click();
  await expect(page.getByRole('link', { name: 'Revision 2' })).toBeVisible({ timeout: 30_000 });

  await page.goto(`${district.path}/sources/sis/sharing`);
  await page.getByRole('button', { name: 'Share everything' }).click();
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('All schools are shared.')).toBeVisible();
  await expect
    .poll(async () => (await district.call('GET', '/users')).users.length, { timeout: 30_000 })
    .toBe(7);
});
