import { type District, roster, test } from './district';
import { expect, type Page } from './fixtures';
import { expectSound } from './screens';
import { sftpClient, sshd } from './sshd';

/** A source that fetches from a server which nobody has to reach. */
async function newSource(district: District, source = 'files') {
  await district.call('POST', `/sources?sourceId=${source}`, {
    displayName: 'Nightly files',
    connector: 'sftp-pull',
    settings: { host: 'sftp.maple.example', user: 'hub' },
  });
  return `${district.path}/sources/${source}`;
}

test('a source gets a schedule, and loses it', async ({ page, district }) => {
  test.slow();
  await page.goto(`${await newSource(district)}/schedule`);
  await page.getByRole('radio', { name: 'By themselves, at set times' }).check();
  await page.getByLabel('Another time').fill('13:15');
  await page.getByRole('button', { name: 'Add this time' }).click();
  await expect(page.getByRole('listitem').filter({ hasText: '1:15 PM' })).toBeVisible();
  const days = page.getByRole('group', { name: /^On these days/ });
  for (const day of ['Monday', 'Tuesday', 'Wednesday']) await days.getByLabel(day).check();

  await page.getByLabel('First day').fill('2026-12-21');
  await page.getByLabel('Last day').fill('2027-01-03');
  await page.getByRole('button', { name: 'Add these days' }).click();
  await expect(
    page.getByRole('listitem').filter({ hasText: 'Dec 21, 2026 to Jan 3, 2027' }),
  ).toBeVisible();
  await page.getByLabel('From', { exact: true }).fill('22:00');
  await page.getByLabel('To', { exact: true }).fill('01:00');
  await page
    .getByRole('group', { name: /^Beginning on/ })
    .getByLabel('Friday')
    .check();
  await page.getByRole('button', { name: 'Add these hours' }).click();
  await expect(
    page.getByRole('listitem').filter({ hasText: 'Friday, 10:00 PM to 1:00 AM' }),
  ).toBeVisible();
  await page.getByLabel('Hours without new data').fill('72');
  await page.getByRole('button', { name: 'Save the schedule' }).click();
  // The district's clocks, not those of the browser.
  await expect(page.getByText(/^Saved\. The next sync starts .* (EST|EDT)\.$/)).toBeVisible();
  await expectSound(page, 'source-schedule');

  await page.getByRole('link', { name: 'Status' }).click();
  await expect(page.getByText('Monday to Wednesday at 2:30 AM and 1:15 PM')).toBeVisible();
  await expectSound(page, 'source-scheduled');
  const { schedule, staleAfterHours } = await district.call('GET', '/sources/files');
  expect(schedule.blackoutHours).toEqual([
    { weekdays: ['FRIDAY'], startTime: '22:00', endTime: '01:00' },
  ]);
  expect(staleAfterHours).toBe(72);

  await page.getByRole('link', { name: 'Schedule' }).click();
  await page.getByRole('radio', { name: 'Only by hand' }).check();
  await page.getByRole('button', { name: 'Save the schedule' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
  expect((await district.call('GET', '/sources/files')).schedule).toBeFalsy();
});

test('a source is paused until a day, and resumed', async ({ page, district }) => {
  await page.goto(await newSource(district));
  await page.getByLabel('Goes on by itself on').fill('2099-08-20');
  await page.getByLabel('Why').fill('New student system');
  await page.getByRole('button', { name: 'Pause this source' }).click();
  await expect(page.getByText('Paused until Aug 20, 2099, 12:00 AM EDT')).toBeVisible();
  await expect(page.getByText('“New student system”')).toBeVisible();
  await expectSound(page, 'source-paused');
  await page.getByRole('link', { name: 'Sources' }).first().click();
  await expect(page.getByRole('row', { name: /Nightly files/ })).toContainText('Paused');

  await page.getByRole('link', { name: 'Nightly files' }).click();
  await page.getByRole('button', { name: 'Resume now' }).click();
  await expect(page.getByRole('button', { name: 'Pause this source' })).toBeVisible();
  expect((await district.call('GET', '/sources/files')).pause).toBeFalsy();
});

test('a server with another key has to be confirmed anew', async ({ page, district }) => {
  test.slow();
  const server = await sshd();
  try {
    server.put(roster(4));
    const before = 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';
    await district.call('POST', '/sources?sourceId=files', {
      displayName: 'Nightly files',
      connector: 'sftp-pull',
      settings: {
        host: '127.0.0.1',
        port: server.port,
        user: server.user,
        folder: server.folder,
        hostKey: before,
      },
      secrets: { privateKey: server.key },
    });
    const { syncId } = await district.call('POST', '/sources/files:sync', {});
    await district.settled(syncId);

    await page.goto(`${district.path}/syncs/${syncId}`);
    await page.getByRole('link', { name: 'Compare the new fingerprint' }).click();
    await expect(page.getByText('The server identifies itself by another key')).toBeVisible();
    await page.getByRole('button', { name: 'Test the connection' }).click();
    await expect(page.getByText(server.fingerprint, { exact: true })).toBeVisible();
    await expect(page.getByText(before)).toBeVisible();
    await expectSound(page, 'source-key-changed');
    await page.getByRole('button', { name: 'Yes, trust this server' }).click();
    await page.getByRole('button', { name: 'Test the connection' }).click();
    await expect(page.getByText('Everything that is required is there')).toBeVisible();
    await page.getByRole('button', { name: 'Sync now' }).click();
    await expect(page.getByText('Completed').first()).toBeVisible({ timeout: 30_000 });
  } finally {
    await server.stop();
  }
});

test('files are dropped with the account of the source', async ({ page, district }) => {
  test.slow();
  const client = sftpClient(process.env.SFTP_ADDR ?? '', `${district.id}.drop`);
  try {
    await district.call('POST', '/sources?sourceId=drop', {
      displayName: 'Dropped files',
      connector: 'sftp-drop',
      settings: { sentinel: 'done.txt', authorizedKeys: client.publicKey },
    });
    await page.goto(`${district.path}/sources/drop`);
    await expect(page.getByText(`${district.id}.drop`)).toBeVisible();
    await expect(page.getByText(/^SHA256:/)).toBeVisible();
    await page.getByRole('button', { name: 'Make a password' }).click();
    await expect(page.getByText('The new password, shown this once')).toBeVisible();
    await expectSound(page, 'source-drop');
    await page.reload();
    await expect(page.getByText('Set; it is not shown again')).toBeVisible();
    await expect(page.getByText('shown this once')).toHaveCount(0);

    client.put(roster(4));
    await expect(page.getByRole('listitem').filter({ hasText: 'users.csv' })).toBeVisible();
    await expectSound(page, 'source-drop-waiting');
    client.put({ 'done.txt': '' });
    await expect(page.getByRole('table')).toContainText('Completed', { timeout: 40_000 });
    await expect(page.getByText('Connected', { exact: true })).toBeVisible();
  } finally {
    client.forget();
  }
});

test('a trial run shows the plan, and is made good', async ({ page, district }) => {
  await district.sync(roster(4));
  await page.goto(`${district.path}/sources/sis`);
  await page.getByLabel('One zip, or all CSV files of one export').setInputFiles(
    Object.entries(roster(6, 'Augusta')).map(([name, text]) => ({
      name,
      mimeType: 'text/csv',
      buffer: Buffer.from(text),
    })),
  );
  await page.getByRole('button', { name: 'Upload and check' }).click();
  await page.getByRole('button', { name: 'Trial run' }).click();
  await expect(page.getByText('This was a trial run: nothing was changed')).toBeVisible();
  await expect(page.getByText('A sync would bring 4 created, 1 updated')).toBeVisible();
  await expect(page.getByRole('row', { name: /student-0/ })).toContainText('Ada → Augusta');
  await expectSound(page, 'sync-trial');

  await page.getByRole('button', { name: 'Sync this for good' }).click();
  await expect(page.getByRole('link', { name: 'Revision 2' })).toBeVisible({ timeout: 30_000 });
  await expect(page.getByText('This was a trial run')).toHaveCount(0);
});

/** Changes what the hub answers, to show in peace what passes by in a moment. */
async function altered(page: Page, url: RegExp, change: (answer: any, times: number) => object) {
  let times = 0;
  await page.route(url, async (route) => {
    const response = await route.fetch();
    const answer = await response.json();
    times++;
    await route.fulfill({ response, json: { ...answer, ...change(answer, times) } });
  });
}

test('a running sync tells how far it is', async ({ page, district }) => {
  test.slow();
  const { syncId } = await district.sync(roster(4));
  await altered(page, new RegExp(`/v1/.*/syncs/${syncId}$`), (_, times) => ({
    state: 'PULLING',
    endTime: undefined,
    bytesPulled: 20e6 + times * 2e6,
    bytesToPull: 500e6,
    rowsRead: 0,
  }));
  await page.goto(`${district.path}/syncs/${syncId}`);
  await expect(
    page.getByText(/^\d+ MB of 500 MB fetched · [\d.]+ MB per second · about /),
  ).toBeVisible();
  await expect(page.getByRole('progressbar', { name: 'fetched' })).toBeVisible();
  await expectSound(page, 'sync-running');
  await page.goto(`${district.path}/sources/sis`);
  await expect(page.getByText('A sync is under way: Reading files')).toBeVisible();
});

test('a source that has become stale says so', async ({ page, district }) => {
  const path = await newSource(district);
  await altered(page, /\/v1\/.*\/sources\/files$/, () => ({
    staleSince: '2026-09-04T06:30:00Z',
    lastInputTime: '2026-09-02T06:31:00Z',
    lastScheduledRun: {
      slot: '2026-09-04T02:30',
      time: '2026-09-04T06:30:00Z',
      skipped: 'paused until 2026-09-04T12:00:00Z (new student system)',
    },
  }));
  await page.goto(path);
  await expect(page.getByText('Nothing new since Sep 2, 2026, 2:31 AM EDT')).toBeVisible();
  await expect(page.getByText('skipped, paused until Sep 4, 2026, 8:00 AM EDT')).toBeVisible();
  await expectSound(page, 'source-stale');
});

test('a source is stopped with its records, started again, and removed through a hold', async ({
  page,
  district,
}) => {
  test.slow();
  await district.sync(roster(6));
  await page.goto(`${district.path}/sources/sis/settings`);
  await page.getByRole('radio', { name: 'They stay as they are' }).check();
  await expectSound(page, 'source-stop');
  await page.getByRole('button', { name: 'Stop this source' }).click();
  await expect(page.getByText(/^Stopped since /)).toBeVisible();
  await expectSound(page, 'source-stopped');
  await page.getByRole('button', { name: 'Start it again' }).click();
  await expect(page.getByText('Connected', { exact: true })).toBeVisible();

  const settings = page
    .getByRole('navigation', { name: 'This source' })
    .getByRole('link', { name: 'Settings' });
  await settings.click();
  await page.getByRole('radio', { name: /^They are removed/ }).check();
  await page.getByRole('button', { name: 'Show what would be removed' }).click();
  await expect(page.getByText('This sync waits for a decision')).toBeVisible({ timeout: 30_000 });
  await expect(page.getByRole('radio', { name: 'Everything' })).toBeVisible();
  await expect(page.getByRole('radio')).toHaveCount(1);
  await expectSound(page, 'source-removal');
  await page.getByRole('button', { name: 'Discard the sync' }).click();
  await expect(page.getByText('Discarded').first()).toBeVisible();
  await page.getByRole('link', { name: 'sis' }).click();
  await expect(page.getByText('Connected', { exact: true })).toBeVisible();

  await settings.click();
  await page.getByRole('radio', { name: /^They are removed/ }).check();
  await page.getByRole('button', { name: 'Show what would be removed' }).click();
  await page.getByRole('button', { name: /^Approve/ }).click();
  await expect(page.getByRole('link', { name: 'Revision 2' })).toBeVisible({ timeout: 30_000 });
  await page.getByRole('link', { name: 'sis' }).click();
  await expect(page.getByText('There is no source sis')).toBeVisible();
});

test('a kept package is synced from again', async ({ page, district }) => {
  await district.sync(roster(4));
  await district.sync(roster(4, 'Augusta'));
  await page.goto(`${district.path}/sources/sis/packages`);
  const rows = page.getByRole('table').getByRole('row');
  await expect(rows.nth(1)).toContainText('In use');
  await expect(rows.nth(2)).toContainText('users.csv');
  await expectSound(page, 'source-packages');
  await rows
    .nth(2)
    .getByRole('button', { name: /^Trial run/ })
    .click();
  await expect(page.getByText('A sync would bring 1 updated')).toBeVisible({ timeout: 30_000 });
  await expect(page.getByRole('row', { name: /student-0/ })).toContainText('Augusta → Ada');

  await page.goto(`${district.path}/sources/sis/packages`);
  await rows
    .nth(2)
    .getByRole('button', { name: /^Sync again/ })
    .click();
  await expect(page.getByRole('link', { name: 'Revision 3' })).toBeVisible({ timeout: 30_000 });
});
