import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('a hold is shown, approved school by school, and without removals', async ({
  page,
  district,
}) => {
  test.slow();
  await district.sync(roster(80));
  const held = await district.sync(roster(12, 'Augusta'));
  expect(held.state).toBe('ON_HOLD');

  await page.goto(`${district.path}/overview`);
  await expect(page.getByText('A sync waits for your decision')).toBeVisible();
  await expectSound(page, 'overview-held');
  await page.getByRole('link', { name: /^sis, / }).click();
  await expect(page.getByText('Many removals:').first()).toBeVisible();
  await expect(page.getByRole('button', { name: 'Approve 137 changes' })).toBeVisible();
  await expect(page.getByRole('row', { name: /student-0/ })).toContainText('Ada → Augusta');

  await page.getByRole('radio', { name: 'Only chosen schools' }).check();
  await page.getByRole('button', { name: 'Approve this part' }).click();
  await expect(page.getByText('Choose at least one school.')).toBeVisible();
  await page.getByRole('checkbox', { name: 'North School' }).check();
  await expect(page.getByText('1 of 2 schools chosen')).toBeVisible();
  await expect(page.getByText('the next sync of this source plans it again')).toBeVisible();
  await expectSound(page, 'hold');
  await page.getByRole('button', { name: 'Approve this part' }).click();

  await expect(page.getByText('68 changes were left out by the approval')).toBeVisible();
  await expect(page.getByRole('columnheader', { name: 'Left out' })).toBeVisible();
  await expectSound(page, 'hold-approved');
  await page.getByRole('link', { name: 'Revision 2' }).click();
  await expect(page.getByText('1 updated, 68 removed').first()).toBeVisible();

  // What was left out is planned again.
  const again = await district.sync(roster(12, 'Grace'));
  expect(again.state).toBe('ON_HOLD');
  await page.goto(`${district.path}/syncs/${again.syncId}`);
  await page.getByRole('radio', { name: 'Everything except removals' }).check();
  await page.getByRole('button', { name: 'Approve this part' }).click();
  await expect(page.getByText('68 changes were left out by the approval')).toBeVisible();
  await expect(page.getByRole('row', { name: /student-0/ })).toContainText('Augusta → Grace');

  const last = await district.sync(roster(12, 'Grace'));
  await page.goto(`${district.path}/syncs/${last.syncId}`);
  await page.getByRole('button', { name: 'Discard the sync' }).click();
  await expect(page.getByText('Discarded').first()).toBeVisible();
  await page.goto(`${district.path}/overview`);
  await expect(page.getByRole('heading', { name: 'Users by role' })).toBeVisible();
  await expect(page.getByText('A sync waits for your decision')).toHaveCount(0);
});

test('the first sync after an undo says why it waits', async ({ page, district }) => {
  await district.sync(roster(4));
  await district.sync(roster(5));
  await district.call('POST', '/revisions/1:restore', {});
  const held = await district.sync(roster(5));
  await page.goto(`${district.path}/syncs/${held.syncId}`);
  await expect(page.getByText('First sync after an undo:')).toBeVisible();
  await page.getByRole('button', { name: 'Approve 2 changes' }).click();
  await expect(page.getByRole('link', { name: 'Revision 4' })).toBeVisible();
});

test('a policy says what waits; reasons name their schools', async ({ page, district }) => {
  test.slow();
  await district.sync(roster(80));
  await page.goto(`${district.path}/sources/sis/holds`);
  await expect(page.getByRole('radio', { name: 'Everything waits' })).toBeChecked();
  const most = page.getByLabel('Many removals: more than this percentage').first();
  await expect(most).toHaveValue('10');
  await page.getByRole('radio', { name: 'Only removals wait' }).check();
  await most.fill('20');
  await page.getByRole('checkbox', { name: 'Many changes' }).first().uncheck();
  await expectSound(page, 'hold-policy');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
  const { holdPolicy } = await district.call('GET', '/sources/sis');
  expect(holdPolicy.mode).toBe('APPLY_SAFE');
  expect(holdPolicy.thresholds['many-removals'].percent).toBe(20);
  expect(holdPolicy.thresholds['many-updates'].off).toBe(true);

  const held = await district.sync(roster(12, 'Augusta'));
  expect(held.state).toBe('ON_HOLD');
  await page.goto(`${district.path}/syncs/${held.syncId}`);
  await expect(page.getByText('A part of this sync was applied at once')).toBeVisible();
  await expect(page.getByText('34 of 41 users at North School would be removed')).toBeVisible();
  await expectSound(page, 'hold-part');

  await page.goto(`${district.path}/sources/sis/holds`);
  await page.getByRole('button', { name: 'Back to what is usual' }).click();
  await expect(most).toHaveValue('10');
  await expect(page.getByRole('radio', { name: 'Everything waits' })).toBeChecked();
});
