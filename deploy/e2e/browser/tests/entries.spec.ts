import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('a guardian, a teacher and a class are entered by hand, previewed and applied', async ({
  page,
  district,
}) => {
  test.slow();
  await district.sync(roster(6));
  await page.goto(`${district.path}/connect?connector=manual`);
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('By hand');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('Nothing is entered yet')).toBeVisible();

  await page.getByRole('link', { name: 'Add a guardian' }).click();
  await page.getByLabel('First name').fill('Gail');
  await page.getByLabel('Last name').fill('Byron');
  await page.getByLabel('Email').fill('gail@home.example');
  await page.getByLabel('School').selectOption('North School');
  await page.getByLabel('Find students', { exact: true }).fill('byron 0');
  await page.getByLabel('Find students', { exact: true }).press('Enter');
  await page.getByRole('button', { name: 'Add Ada Byron 0' }).click();
  await expect(page.getByRole('button', { name: 'Remove Ada Byron 0' })).toBeVisible();
  await page.getByRole('textbox', { name: 'Securly Internal ID' }).fill('gail');
  await expectSound(page, 'entry-guardian');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('row', { name: /^Gail Byron/ })).toContainText('User, added');

  await page.getByRole('link', { name: 'Add a member of staff' }).click();
  await page.getByLabel('First name').fill('Nora');
  await page.getByLabel('Last name').fill('Nurse');
  await page.getByLabel('Role').selectOption('Counselor');
  await page.getByLabel('School').selectOption('South School');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('row', { name: /^Nora Nurse/ })).toBeVisible();
  await page.getByRole('link', { name: 'Change Nora Nurse' }).click();
  await expect(page.getByLabel('Role')).toHaveValue('counselor');
  await page.getByLabel('Email').fill('nora@maple.example');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('row', { name: /^Nora Nurse/ })).toContainText('Email');

  await page.getByRole('link', { name: 'Add a class' }).click();
  await page.getByLabel('Title').fill('Chess club');
  await page.getByLabel('School').selectOption('North School');
  await page.getByLabel('Type').selectOption('Homeroom');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('row', { name: /^Chess club/ })).toContainText('Class, added');

  await page.getByRole('link', { name: 'Put people into a class' }).click();
  await page.getByLabel('Find a class', { exact: true }).fill('art');
  await page.getByRole('button', { name: 'Find a class now' }).click();
  await page.getByRole('button', { name: 'Add Art' }).click();
  await page.getByLabel('Find people', { exact: true }).fill('byron 1');
  await page.getByRole('button', { name: 'Find people now' }).click();
  await page.getByRole('button', { name: 'Add Bo Byron 1' }).click();
  await expectSound(page, 'entry-members');
  await page.getByRole('button', { name: 'Save' }).click();
  const member = page.getByRole('row', { name: /^student-1 in class-north/ });
  await expect(member).toContainText('Enrollment, added');
  await expectSound(page, 'entries');

  await page.getByRole('button', { name: 'Preview' }).click();
  await expect(page.getByText('This was a trial run: nothing was changed')).toBeVisible({
    timeout: 30_000,
  });
  await expect(page.getByText('gail@home.example').first()).toBeVisible();
  await expectSound(page, 'entries-preview');
  await page.getByRole('button', { name: 'Sync this for good' }).click();
  await expect(page.getByRole('link', { name: /^Revision / })).toBeVisible({ timeout: 30_000 });
  const { enrollments } = await district.call('GET', '/enrollments?userId=student-1');
  expect(enrollments).toHaveLength(2);
  const { record } = await district.call('GET', '/users:get?sourcedId=gail');
  expect(record).toMatchObject({ givenName: 'Gail', roles: [{ role: 'guardian' }] });
  expect(record.agents).toMatchObject([{ sourcedId: 'student-0', contactType: 'guardian' }]);
});

test('a record is corrected by hand, as long as the source has nothing better', async ({
  page,
  district,
}) => {
  test.slow();
  await district.sync(roster(6));
  await district.call('POST', '/sources?sourceId=hand', {
    displayName: 'By hand',
    connector: 'manual',
  });
  await page.goto(`${district.path}/data/users/record?id=student-1`);
  await page.getByRole('link', { name: 'Correct by hand' }).click();
  await expect(page.getByText('Now: s1@maple.example')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Save' })).toBeDisabled();
  await page.getByLabel('First name', { exact: true }).fill('Robert');
  await page.getByLabel('Email', { exact: true }).fill('robert@maple.example');
  await page.getByLabel('Source wins if it has a value of Email').check();
  await expectSound(page, 'entry-correction');
  await page.getByRole('button', { name: 'Save' }).click();
  const row = page.getByRole('row', { name: /^Robert/ });
  await expect(row).toContainText('User, corrected');
  await expect(row).toContainText('1 field only where no source has a value');

  await page.getByRole('button', { name: 'Apply' }).click();
  await expect(page.getByRole('link', { name: /^Revision / })).toBeVisible({ timeout: 30_000 });
  const corrected = await district.call('GET', '/users:get?sourcedId=student-1');
  expect(corrected.record).toMatchObject({ givenName: 'Robert', email: 's1@maple.example' });

  // It is changed, and taken back.
  await page.goto(`${district.path}/sources/hand`);
  await page.getByRole('link', { name: 'Change Robert' }).click();
  await expect(page.getByLabel('First name', { exact: true })).toHaveValue('Robert');
  await page.getByLabel('Source wins if it has a value of Email').uncheck();
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('1 field only where no source has a value')).toHaveCount(0);
  await page.getByRole('button', { name: 'Delete Robert' }).click();
  await expect(page.getByText('Nothing is entered yet')).toBeVisible();
  await page.getByRole('button', { name: 'Apply' }).click();
  await expect(page.getByRole('link', { name: /^Revision / })).toBeVisible({ timeout: 30_000 });
  const again = await district.call('GET', '/users:get?sourcedId=student-1');
  expect(again.record).toMatchObject({ givenName: 'Bo' });
});
