import { expect, type Page, someStudent, test } from './fixtures';

test('the main path works without a mouse', async ({ page, hub }) => {
  const student = await someStudent(hub);
  await page.goto('/');
  await expect(page.getByRole('table', { name: 'Readiness reports' })).toBeVisible();

  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to content' })).toBeFocused();
  await page.keyboard.press('Enter');
  await tabTo(page, 'New Readiness Report');
  await tabTo(page, 'For Product');
  await tabTo(page, /^View report/);
  await page.keyboard.press('Enter');
  await expect(page.locator('[data-check]').first()).toBeVisible();
  await tabTo(page, /^Download CSV/);
  await tabTo(page, 'Compare with');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.getByText('How to fix', { exact: true })).toBeVisible();

  await page.keyboard.press('Home');
  await tabTo(page, 'Data Viewer', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Data Viewer' })).toBeFocused();
  await tabTo(page, 'Email');
  await page.keyboard.type(student.email);
  await page.keyboard.press('Enter');
  await expect(page.getByText('1–1 of 1', { exact: true })).toBeVisible();
  await tabTo(page, /^Show Raw Data/);
  await page.keyboard.press('Space');
  await expect(page.getByRole('region', { name: 'Raw data' })).toBeVisible();
});

/** Moves the focus until it is on the control with this name. */
async function tabTo(page: Page, name: string | RegExp, key = 'Tab') {
  for (let steps = 0; steps < 80; steps++) {
    await page.keyboard.press(key);
    const focused = await page.evaluate(() => {
      const element = document.activeElement as HTMLInputElement | null;
      const label = element?.getAttribute('aria-label') ?? element?.labels?.[0]?.textContent;
      return (label ?? element?.textContent ?? '').trim();
    });
    if (typeof name === 'string' ? focused === name : name.test(focused)) return;
  }
  throw new Error(`The keyboard does not reach ${String(name)}.`);
}
