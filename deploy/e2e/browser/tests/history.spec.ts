import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('a sync is looked at, compared and undone', async ({ page, district }) => {
  test.slow();
  await district.sync(roster(6));
  await district.sync(roster(8, 'Augusta'));

  const history = page
    .getByRole('navigation', { name: 'Main' })
    .getByRole('link', { name: 'History' });

  await page.goto(district.path);
  await history.click();
  await expect(page.getByRole('row', { name: /^Revision 2 Newest/ })).toContainText('4');
  await expectSound(page, 'history');

  await page.getByRole('link', { name: 'Revision 2' }).click();
  await expect(page.getByText('4 created, 1 updated').first()).toBeVisible();
  await expect(page.getByText('givenName').first()).toBeVisible();
  await expectSound(page, 'revision');
  await page.getByRole('link', { name: /1 Users updated/ }).click();
  await expect(page.getByText('1–1 of 1', { exact: true })).toBeVisible();
  const change = page.getByRole('row', { name: /student-0/ });
  await expect(change).toContainText('Ada → Augusta');
  await page.getByRole('combobox', { name: 'Kind of change' }).selectOption('removed');
  await expect(page.getByText('No such changes')).toBeVisible();
  await page.goBack();

  // A record as it was.
  await history.click();
  await page.getByRole('link', { name: 'Revision 1', exact: true }).click();
  await page.getByRole('combobox', { name: 'Entity' }).selectOption('users');
  await page.getByRole('link', { name: 'student-0', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Ada Byron 0' })).toBeVisible();
  await expect(page.getByText('The record as of revision 1')).toBeVisible();
  await expectSound(page, 'record-as-of');
  await page.getByRole('link', { name: 'Show the newest' }).click();
  await expect(page.getByRole('heading', { name: 'Augusta Byron 0' })).toBeVisible();

  // Compare, with an end that is not there and with two that are.
  await history.click();
  await page.getByRole('button', { name: 'Compare' }).click();
  await expect(page.getByText('Say what to compare')).toBeVisible();
  await page.getByRole('textbox', { name: 'Compare' }).fill('77');
  await page.getByRole('button', { name: 'Compare' }).click();
  await expect(page.getByRole('alert')).toContainText('77');
  await page.getByRole('link', { name: 'Choose other revisions' }).click();
  await page.getByRole('textbox', { name: 'Compare' }).fill('2');
  await page.getByRole('textbox', { name: 'with' }).fill('1');
  await page.getByRole('button', { name: 'Compare' }).click();
  await expect(page.getByRole('heading', { name: 'From revision 2 to 1' })).toBeVisible();
  await expect(page.getByRole('row', { name: /student-0/ })).toContainText('Augusta → Ada');
  await expectSound(page, 'compare');

  await history.click();
  await page.getByRole('link', { name: 'Revision 1', exact: true }).click();
  await page.getByRole('link', { name: 'Undo: go back to this revision' }).click();
  await expect(page.getByText('5 records change (1 updated, 4 removed)')).toBeVisible();
  await expect(page.getByRole('row', { name: /student-0/ })).toContainText('Augusta → Ada');
  await expectSound(page, 'undo');

  // Something else comes in between: what is applied is what was shown, or nothing.
  await district.sync(roster(9, 'Augusta'));
  await page.getByRole('button', { name: 'Apply 5 changes and go back' }).click();
  await expect(page.getByRole('alert')).toContainText('the roster has changed');
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.getByRole('button', { name: 'Apply 7 changes and go back' }).click();
  await expect(page.getByText('Your data is as it was at revision 1')).toBeVisible();
  await expectSound(page, 'undo-done');

  await page.getByRole('link', { name: 'Back to the history' }).click();
  await expect(page.getByRole('row', { name: /^Revision 4 Newest/ })).toContainText(
    'Undo back to revision 1',
  );
  expect((await district.sync(roster(9, 'Augusta'))).state).toBe('ON_HOLD');
});
