import { defineConfig } from '@playwright/test';

// The tests share one hub and one session, so they run in a fixed order: signing in first, signing
// out last.
export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results/runs',
  globalSetup: './hub.ts',
  reporter: [['list'], ['html', { outputFolder: 'test-results/report', open: 'never' }]],
  forbidOnly: Boolean(process.env.CI),
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  use: {
    browserName: 'chromium',
    viewport: { width: 1440, height: 900 },
    locale: 'en-US',
    // Not the district's, so that a time in the browser's zone is noticed.
    timezoneId: 'Pacific/Auckland',
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-first-run',
      ],
    },
  },
  projects: [
    { name: 'sign-in', testMatch: 'sign-in.ts' },
    { name: 'screens', testMatch: '*.spec.ts', dependencies: ['sign-in'] },
    { name: 'sign-out', testMatch: 'sign-out.ts', dependencies: ['screens'] },
  ],
});
