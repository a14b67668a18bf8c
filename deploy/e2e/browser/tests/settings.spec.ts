import { test } from './district';
import { expect } from './fixtures';
import { expectSound } from './screens';

test('a district gets a name, clocks, domains and days', async ({ page, district }) => {
  test.slow();
  await page.goto(`${district.path}/overview`);
  await page.getByRole('link', { name: 'Settings' }).click();
  await expect(page.getByRole('heading', { name: 'District settings', level: 1 })).toBeVisible();
  await expect(page.getByLabel('Days of history')).toHaveValue('400');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Maple Valley Schools');
  await page.getByLabel('Time zone').selectOption('Central (America/Chicago)');
  await page.getByLabel('Another domain').fill('staff@Maple.example');
  await page.getByRole('button', { name: 'Add this domain' }).click();
  await page.getByLabel('Another domain').fill('students.maple.example');
  await page.getByLabel('Another domain').press('Enter');
  await page.getByLabel('Days of history').fill('0');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('There are changes that are not saved.')).toBeVisible();
  await page.getByLabel('Days of history').fill('200');
  await expectSound(page, 'settings');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
  const saved = await district.call('GET', '');
  expect(saved).toMatchObject({
    displayName: 'Maple Valley Schools',
    timeZone: 'America/Chicago',
    emailDomains: ['maple.example', 'students.maple.example'],
    historyDays: 200,
    packageDays: 200,
  });

  // Every domain can be taken out again.
  await page.getByRole('button', { name: 'Remove maple.example' }).click();
  await page.getByRole('button', { name: 'Remove students.maple.example' }).click();
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
  expect((await district.call('GET', '')).emailDomains ?? []).toEqual([]);
});

test('people are told by e-mail of what they chose', async ({ page, district }) => {
  test.slow();
  await page.goto(`${district.path}/settings/notifications`);
  // The hub of these tests has no mail server, and says so.
  await expect(page.getByText('This hub sends no mail')).toBeVisible();
  await expect(page.getByText('Nobody is told of anything', { exact: true })).toBeVisible();
  await page.getByLabel('Another address').fill('it@maple.example');
  await page.getByRole('button', { name: 'Add this address' }).click();
  await page.getByLabel('Another address').fill('head@maple.example');
  await page.getByLabel('Another address').press('Enter');
  const head = page.getByRole('group', { name: 'head@maple.example' });
  for (const kind of [/^Nothing new/, /^A server shows/, /^All is well/, /^A sync has failed/]) {
    await head.getByRole('checkbox', { name: kind }).uncheck();
  }
  await expect(head.getByRole('checkbox', { name: /^A sync waits/ })).toBeDisabled();
  await page.getByLabel('Another address').fill('IT@maple.example');
  await expect(page.getByText('This one is there already')).toBeVisible();
  await page.getByLabel('Another address').fill('');
  await expectSound(page, 'settings-notifications');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Everything is saved.')).toBeVisible();
  const { recipients } = await district.call('GET', '/notifications');
  expect(recipients[0]).toMatchObject({ email: 'it@maple.example' });
  expect(recipients[0].kinds ?? []).toEqual([]);
  expect(recipients[1]).toEqual({ email: 'head@maple.example', kinds: ['HOLD'] });
});

test('a test mail that cannot be sent says why', async ({ page, district }) => {
  await district.call('PUT', '/notifications', { recipients: [{ email: 'it@maple.example' }] });
  // As if there were a mail server, so that the hub is asked and refuses.
  await page.route(`**/v1/districts/${district.id}/notifications`, async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), mailOff: false } });
  });
  await page.goto(`${district.path}/settings/notifications`);
  await page.getByRole('button', { name: 'Send a test mail to it@maple.example' }).click();
  await expect(page.getByRole('alert')).toContainText('mail');
  await page.getByRole('button', { name: 'Remove it@maple.example' }).click();
  await page.getByRole('button', { name: 'Undo changes' }).click();
  await expect(page.getByRole('group', { name: 'it@maple.example' })).toBeVisible();
});
