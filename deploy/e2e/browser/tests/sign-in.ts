import { anonymous as test, expect, sessionFile } from './fixtures';

test('signs in with the printed link, once', async ({ page, browser, baseURL }) => {
  const link = process.env.SIGN_IN_LINK ?? '';

  await page.goto('/');
  await expect(page.getByRole('heading', { name: 'Sign in to Securly Sync' })).toBeVisible();
  await expect(page.getByText('Open the sign-in link that was printed')).toBeVisible();

  await page.goto(link);
  await expect(page).toHaveURL(/\/districts\/[^/]+\/readiness$/);
  await expect(page.getByRole('heading', { name: 'Data Readiness', level: 1 })).toBeVisible();
  await expect(page.getByRole('link', { name: 'support@securly.com' })).toBeVisible();
  await page.context().storageState({ path: sessionFile });

  const stranger = await browser.newPage({ baseURL });
  await stranger.goto(link);
  await expect(stranger.getByText('This sign-in link no longer works.')).toBeVisible();
  await stranger.close();
});
