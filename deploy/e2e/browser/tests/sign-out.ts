import { expect, test } from './fixtures';

test('a session that has ended leads to the sign-in page', async ({ page, hub }) => {
  await page.goto(`/districts/${hub.district}/overview`);
  await expect(page.getByRole('heading', { name: 'Users by role' })).toBeVisible();
  await page.context().clearCookies();
  await page.getByRole('link', { name: 'Data Viewer' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in to Securly Sync' })).toBeVisible();
});

test('signs out and leaves nothing behind', async ({ page, hub }) => {
  await page.goto(`/districts/${hub.district}/overview`);
  await expect(page.getByRole('heading', { name: 'Overview' })).toBeVisible();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in to Securly Sync' })).toBeVisible();

  expect((await page.request.get('/v1/me')).status()).toBe(401);
  await page.goBack();
  await page.goto(`/districts/${hub.district}/data/users`);
  await expect(page.getByRole('heading', { name: 'Sign in to Securly Sync' })).toBeVisible();
});
