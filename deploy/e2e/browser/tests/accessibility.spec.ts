import { expect, type Hub, type Page, someStudent, test } from './fixtures';
import { expectSound } from './screens';

interface Screen {
  name: string;
  open: (page: Page, hub: Hub) => Promise<void>;
}

const screens: Screen[] = [
  {
    name: 'sign-in',
    open: async (page) => {
      await page.context().clearCookies();
      await page.goto('/?signin=expired');
      await expect(page.getByRole('heading', { name: 'Sign in to Securly Sync' })).toBeVisible();
    },
  },
  {
    name: 'readiness',
    open: async (page, hub) => {
      await page.goto(`/districts/${hub.district}/readiness`);
      await expect(page.getByRole('table', { name: 'Readiness reports' })).toBeVisible();
    },
  },
  {
    name: 'readiness-summary',
    open: async (page, hub) => {
      const { readinessReports } = await hub.get('readinessReports', { pageSize: '1' });
      const { reportId } = readinessReports[0];
      const report = await hub.get(`readinessReports/${reportId}`);
      const check = report.checks.find((result: any) => result.count > 0);
      await page.goto(
        `/districts/${hub.district}/readiness?report=${reportId}&check=${check.checkId}`,
      );
      await expect(page.getByRole('table').nth(1)).toBeVisible();
    },
  },
  {
    name: 'overview',
    open: async (page, hub) => {
      await page.goto(`/districts/${hub.district}/overview`);
      await expect(page.getByRole('heading', { name: 'Users by role' })).toBeVisible();
      await expect(page.getByRole('table')).toBeVisible();
    },
  },
  {
    name: 'sync',
    open: async (page, hub) => {
      const { lastSync } = await hub.get('overview');
      await page.goto(`/districts/${hub.district}/syncs/${lastSync.syncId}`);
      await expect(page.getByRole('heading', { name: 'Faults in the data' })).toBeVisible();
      await expect(page.getByText('Loading findings')).toHaveCount(0);
    },
  },
  {
    name: 'viewer',
    open: async (page, hub) => {
      // A short list: the check takes its time with each row.
      await page.goto(`/districts/${hub.district}/data/users?role=administrator`);
      await page
        .getByRole('button', { name: /^Show Raw Data/ })
        .first()
        .click();
      await expect(page.getByRole('region', { name: 'Raw data' })).toBeVisible();
    },
  },
  {
    name: 'viewer-nothing',
    open: async (page, hub) => {
      await page.goto(`/districts/${hub.district}/data/users?sourcedId=nobody`);
      await expect(page.getByText('No data found')).toBeVisible();
    },
  },
  {
    name: 'record',
    open: async (page, hub) => {
      const { sourcedId } = await someStudent(hub);
      await page.goto(
        `/districts/${hub.district}/data/users/record?id=${encodeURIComponent(sourcedId)}`,
      );
      await expect(page.getByText('First version')).toBeVisible();
    },
  },
];

for (const screen of screens) {
  test(`${screen.name} is accessible and fits`, async ({ page, hub }) => {
    test.slow();
    await screen.open(page, hub);
    await expectSound(page, screen.name);
  });
}
