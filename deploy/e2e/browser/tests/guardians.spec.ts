import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('a guardian file is matched, tried with other columns, and synced', async ({
  page,
  district,
}) => {
  test.slow();
  await district.sync(roster(4));
  await page.goto(`${district.path}/connect?connector=oneroster-csv`);
  await page.getByRole('textbox', { name: 'Name' }).fill('Guardians');
  await page.getByRole('radio', { name: 'A guardian file' }).check();
  await page.getByRole('button', { name: 'Save and go on to the test' }).click();
  await expect(page.getByRole('heading', { name: 'Guardians', level: 1 })).toBeVisible();
  const part = page.getByRole('link', { name: 'Guardian file' });
  await part.click();
  await expect(page.getByRole('link', { name: 'Bring a file first' })).toBeVisible();
  await page.getByRole('link', { name: 'Bring a file first' }).click();

  await page.getByLabel('One zip, or all CSV files of one export').setInputFiles({
    name: 'parents.csv',
    mimeType: 'text/csv',
    buffer: Buffer.from(
      [
        'studentId,parentId,parentFirstName,parentLastName,Contact address',
        'student-0,p-0,Pia,Parent,pia@maple.example',
        'student-1,p-0,Pia,Parent,pia@maple.example',
        'student-2,p-1,Paul,Parent,paul@maple.example',
        'nobody,p-2,Nora,Nobody,nora@maple.example',
        '',
      ].join('\n'),
    ),
  });
  await page.getByRole('button', { name: 'Upload and check' }).click();
  await expect(page.getByText(/worth a thought before/)).toBeVisible();
  await part.click();
  await expect(page.getByText('75% of the rows (3 of 4)')).toBeVisible();
  await expect(page.getByText('75% of the rows, 3, name a student by it')).toBeVisible();
  await page.getByLabel('Contact address is read as').selectOption('Email');
  await page.getByLabel('Students found in fewer rows than').fill('50');
  await page.getByRole('button', { name: 'Try these settings' }).click();
  await expect(page.getByText('A sync of this file would wait for a decision')).toHaveCount(0);
  await expectSound(page, 'source-guardians');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();

  await page.getByRole('link', { name: 'Packages' }).click();
  await page.getByRole('button', { name: /^Sync again/ }).click();
  await expect(page.getByRole('heading', { name: 'What came of the guardian file' })).toBeVisible({
    timeout: 30_000,
  });
  await expect(page.getByRole('link', { name: 'Revision 2' })).toBeVisible({ timeout: 30_000 });
  await expectSound(page, 'sync-guardians');
  const { users } = await district.call('GET', '/users?role=guardian');
  expect(users.map((user: any) => user.email).sort()).toEqual([
    'paul@maple.example',
    'pia@maple.example',
  ]);
});
