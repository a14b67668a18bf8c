import { test } from './district';
import { expect, type Page } from './fixtures';
import { expectSound } from './screens';

const files = {
  'students.csv': `StudentID,First,Last,Grade,School,Email
007,Zoé,Müller,5,North,zoe@made-up.example
8,Ann,Oak,K,North,
`,
  'staff.csv': `ID,First,Last,Title,School
100,Tom,Tree,Teacher,North
101,Pia,Pine,Nurse,North
`,
  'schedule.csv': `SectionID,CourseTitle,School,StudentID,TeacherID
1,Art,North,007,100
1,Art,North,8,100
`,
};

async function upload(page: Page) {
  await page.getByLabel('One zip, or all CSV files of one export').setInputFiles(
    Object.entries(files).map(([name, text]) => ({
      name,
      mimeType: 'text/csv',
      buffer: Buffer.from(text),
    })),
  );
  await page.getByRole('button', { name: 'Upload and check' }).click();
  await expect(page.getByText('3 files are uploaded')).toBeVisible();
}

test('files with names of their own are mapped from a suggestion, previewed and synced', async ({
  page,
  district,
}) => {
  test.slow();
  await page.goto(`${district.path}/connect?connector=oneroster-csv`);
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Own files');
  await page.getByRole('radio', { name: 'Other CSV files' }).check();
  await page.getByRole('button', { name: 'Save and go on to the test' }).click();
  await page.getByRole('link', { name: 'say what its files and columns are' }).click();
  await expect(page.getByRole('link', { name: 'Bring the files first' })).toBeVisible();
  await expectSound(page, 'mapping-nothing');
  await page.getByRole('link', { name: 'Bring the files first' }).click();
  await upload(page);

  await page.getByRole('link', { name: 'Mapping' }).click();
  await expect(page.getByText('Begin with a suggestion')).toBeVisible();
  await expectSound(page, 'mapping-suggestion');
  await page.getByRole('button', { name: 'Use the suggestion' }).click();

  // What is not understood is given a meaning beside the preview.
  const made = page.getByLabel('Records made');
  await made.selectOption({ label: 'Users: 3, 1 value is not understood' });
  await expect(page.getByRole('cell', { name: '007', exact: true })).toBeVisible();
  await page.getByLabel('“Nurse” stands for').selectOption('Aide');
  await page.getByRole('button', { name: 'Add to the mapping' }).click();
  await expect(page.getByText('The preview is of what you had before')).toBeVisible();
  const staff = page.getByRole('region', { name: /Users from staff\.csv$/ });
  await staff.getByText(/^Securly Internal ID, Role/).click();
  await staff.getByText(/values stand for others: values of Role/).click();
  await expect(staff.getByText('Nurse stands for aide', { exact: true }).first()).toBeVisible();
  await expectSound(page, 'mapping');

  // Fields come and go.
  await staff.getByLabel('Another field').selectOption('Email');
  await staff.getByRole('button', { name: 'Add this field' }).click();
  await staff.getByLabel('Email', { exact: true }).selectOption('A text …');
  await staff.getByLabel('Text of Email').fill('{First}.{Last}@made-up.example');
  await staff.getByRole('button', { name: 'Remove First name' }).click();
  await staff.getByLabel('Another field').selectOption('First name');
  await staff.getByRole('button', { name: 'Add this field' }).click();
  await staff.getByLabel('First name', { exact: true }).selectOption('First');
  await page.getByRole('button', { name: 'Show what this makes' }).click();
  await expect(page.getByRole('cell', { name: 'Pia.Pine@made-up.example' })).toBeVisible();
  await expect(made.getByRole('option', { name: 'Users: 4', exact: true })).toBeAttached();
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
  await expectSound(page, 'mapping-saved');

  await page.getByRole('link', { name: 'Status' }).click();
  await upload(page);
  await page.getByRole('button', { name: 'Sync this package' }).click();
  await expect(page.getByRole('link', { name: /^Revision / })).toBeVisible({ timeout: 30_000 });
  const { record } = await district.call('GET', '/users:get?sourcedId=101');
  expect(record).toMatchObject({
    givenName: 'Pia',
    email: 'Pia.Pine@made-up.example',
    roles: [{ role: 'aide' }],
  });
});

test('a mapping that cannot be read is refused, and says where', async ({ page, district }) => {
  await district.call('POST', '/sources?sourceId=own', {
    displayName: 'Own files',
    connector: 'oneroster-csv',
    mapping: {},
  });
  await page.goto(`${district.path}/sources/own`);
  await upload(page);
  await page.getByRole('link', { name: 'Mapping' }).click();
  const add = page.getByRole('region', { name: 'Add records of a file' });
  await add.getByLabel('Records').selectOption('Orgs');
  await add.getByLabel('from the file').selectOption('schedule.csv');
  await add.getByRole('button', { name: 'Add these records' }).click();
  const orgs = page.getByRole('region', { name: /Orgs from schedule\.csv$/ });
  await orgs.getByLabel('Another field').selectOption('Securly Internal ID');
  await orgs.getByRole('button', { name: 'Add this field' }).click();
  await orgs.getByLabel('Securly Internal ID', { exact: true }).selectOption('A text …');
  await orgs.getByLabel('Text of Securly Internal ID').fill('{School');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByRole('alert')).toContainText('sourcedId');
  await page.getByRole('button', { name: 'Undo changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
});
