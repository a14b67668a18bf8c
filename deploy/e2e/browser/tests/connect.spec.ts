import { roster, test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';
import { type SftpServer, sshd } from './sshd';

test('an SFTP server, from the choice of the vendor to the first sync', async ({
  page,
  district,
}) => {
  test.slow();
  const server = await sshd();
  try {
    await connect(server);
  } finally {
    await server.stop();
  }

  async function connect(sftp: SftpServer) {
    await page.goto(`${district.path}/readiness`);
    await expect(page.getByText('Nothing is connected yet')).toBeVisible();
    await page.getByRole('link', { name: 'Sources' }).click();
    await expectSound(page, 'sources-none');
    await page.getByRole('link', { name: 'Connect a source' }).click();
    await expect(page.getByRole('heading', { name: 'Or a method' })).toBeVisible();
    await expectSound(page, 'connect');

    await page.getByRole('link', { name: 'PowerSchool SIS' }).click();
    await expect(page.getByRole('heading', { name: 'How to set up the export' })).toBeVisible();
    await expect(page.getByRole('combobox', { name: 'What to fetch' })).toHaveValue('loose');
    await expectSound(page, 'connect-settings');
    await page.getByRole('textbox', { name: 'Server', exact: true }).fill('127.0.0.1');
    await page.getByRole('textbox', { name: 'Port' }).fill('many');
    await page.getByRole('textbox', { name: 'User name' }).fill(sftp.user);
    await page.getByRole('textbox', { name: 'Folder' }).fill(sftp.folder);
    await page.getByRole('textbox', { name: 'Private key', exact: true }).fill(sftp.key);
    await page.getByRole('button', { name: 'Save and go on to the test' }).click();
    await expect(page.getByRole('alert')).toContainText('port');
    await page.getByRole('textbox', { name: 'Port' }).fill(String(sftp.port));
    await page.getByRole('button', { name: 'Save and go on to the test' }).click();

    await expect(page.getByRole('heading', { name: 'PowerSchool SIS', level: 1 })).toBeVisible();
    const again = page.getByRole('button', { name: /^Test (the connection|again)$/ });
    await again.click();
    await expect(page.getByText('Is this your server?')).toBeVisible();
    await expect(page.getByText(sftp.fingerprint, { exact: true })).toBeVisible();
    await expectSound(page, 'source-confirm');
    await page.getByRole('button', { name: 'Yes, trust this server' }).click();
    await expect(page.getByText('Is this your server?')).toHaveCount(0);

    const files = roster(6);
    const { 'enrollments.csv': enrollments, ...some } = files;
    sftp.put(some);
    await again.click();
    await expect(page.getByText('A sync would not work yet')).toBeVisible();
    await expect(page.getByText('enrollments.csv').first()).toBeVisible();
    await expect(page.getByRole('button', { name: 'Start the first sync' })).toHaveCount(0);
    await expectSound(page, 'source-missing');

    sftp.put({ 'enrollments.csv': enrollments ?? '' });
    await again.click();
    await expect(page.getByText('Everything that is required is there')).toBeVisible();
    await expect(page.getByText('Recommended, and missing')).toBeVisible();
    await expectSound(page, 'source-tested');

    // The key is kept, and nobody sees it again.
    await page
      .getByRole('navigation', { name: 'This source' })
      .getByRole('link', { name: 'Settings' })
      .click();
    await expect(page.getByRole('textbox', { name: /^Fingerprint/ })).toHaveValue(sftp.fingerprint);
    await expect(page.getByRole('textbox', { name: 'Private key', exact: true })).toHaveValue('');
    await expect(
      page.getByRole('checkbox', { name: /^Forget the one that is kept.*Private key$/ }),
    ).toBeVisible();

    await expectSound(page, 'source-settings');

    await page.getByRole('link', { name: 'Status' }).click();
    await again.click();
    await page.getByRole('button', { name: 'Start the first sync' }).click();
    await expect(page.getByRole('heading', { name: /^Sync of / })).toBeVisible();
    await expect(page.getByText('Completed').first()).toBeVisible({ timeout: 30_000 });
    await page.getByRole('link', { name: 'Sources' }).click();
    await expect(page.getByRole('row', { name: /PowerSchool SIS/ })).toContainText('Completed');
    await expectSound(page, 'sources');
  }
});

test('a package is uploaded, checked and synced', async ({ page, district }) => {
  await page.goto(`${district.path}/connect?connector=oneroster-csv`);
  await page.getByRole('textbox', { name: 'Name' }).fill('Spring files');
  await page.getByRole('button', { name: 'Save and go on to the test' }).click();
  await page.getByLabel('One zip, or all CSV files of one export').setInputFiles(
    Object.entries(roster(4)).map(([name, text]) => ({
      name,
      mimeType: 'text/csv',
      buffer: Buffer.from(text),
    })),
  );
  await page.getByRole('button', { name: 'Upload and check' }).click();
  await expect(page.getByText('4 files are uploaded')).toBeVisible();
  await expect(page.getByText('Everything that is required is there')).toBeVisible();
  await expectSound(page, 'source-upload');
  await page.getByRole('button', { name: 'Sync this package' }).click();
  await expect(page.getByText('Completed').first()).toBeVisible({ timeout: 30_000 });
  await expect(page.getByRole('link', { name: 'Revision 1' })).toBeVisible();
});
