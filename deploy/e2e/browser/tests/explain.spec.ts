import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('a record is followed back to the row of its file', async ({ page, district }) => {
  test.slow();
  await district.sync(roster(4));
  await page.goto(`${district.path}/data/users/record?id=student-0`);
  await page.getByRole('button', { name: 'Find out' }).click();
  await expect(page.getByText('users.csv, row 3', { exact: true })).toBeVisible();
  await expect(page.getByText('This source has the record.')).toBeVisible();
  const stored = page.getByRole('region', { name: 'Stored values and their sources' });
  await expect(stored.getByRole('row', { name: /^givenName/ })).toContainText('Ada');
  await expectSound(page, 'explain-record');
});

test('an id that is not there has a reason', async ({ page, district }) => {
  test.slow();
  const files = roster(4);
  await district.sync({
    ...files,
    'users.csv': (files['users.csv'] ?? '').replace('north,student,s0', 'north,wizard,s0'),
  });
  await page.goto(`${district.path}/data/users?sourcedId=student-0`);
  await expect(page.getByText('No data found')).toBeVisible();
  await expect(page.getByRole('heading', { name: 'Why is this id not here?' })).toBeVisible();
  await expect(page.getByText(/^What to do: .*the row/)).toBeVisible();
  await expect(page.getByText('users.csv, row 3', { exact: true })).toBeVisible();
  await expectSound(page, 'explain-missing');

  await page.goto(`${district.path}/data/users/record?id=nobody`);
  await expect(page.getByText(/^What to do: /)).toBeVisible();
  await expect(page.getByText('It has no row of this record.')).toBeVisible();
});
