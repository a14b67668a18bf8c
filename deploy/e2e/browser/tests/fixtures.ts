import { type APIResponse, test as base, expect, type Page } from '@playwright/test';

export { expect };
export type { APIResponse, Page };

/** Where the session that sign-in.ts opens is kept for the tests after it. */
export const sessionFile = 'test-results/session.json';

export interface Hub {
  /** The id of the district that the start page leads to. */
  district: string;
  /** Asks the API with the browser's session. */
  get: (path: string, query?: Record<string, string>) => Promise<any>;
}

export const anonymous = base.extend({
  baseURL: ({}, use) => use(process.env.BASE_URL),
});

export const test = anonymous.extend<{ hub: Hub; quiet: void }>({
  storageState: sessionFile,

  hub: async ({ page }, use) => {
    const json = async (answer: APIResponse) => {
      expect(answer, `${answer.url()}: ${await answer.text()}`).toBeOK();
      return answer.json();
    };
    const { districts } = await json(await page.request.get('/v1/districts'));
    const district: string = districts[0].districtId;
    await use({
      district,
      get: async (path, query) =>
        json(await page.request.get(`/v1/districts/${district}/${path}`, { params: query })),
    });
  },

  // No screen may log an error or break the page's content policy. A request that the hub refuses
  // is logged by the browser itself, and every screen has a state for it.
  quiet: [
    async ({ page }, use) => {
      const complaints: string[] = [];
      page.on('console', (message) => {
        const refused = message.text().startsWith('Failed to load resource');
        if (message.type() === 'error' && !refused) complaints.push(message.text());
      });
      page.on('pageerror', (error) => complaints.push(error.message));
      await use();
      expect(complaints).toEqual([]);
    },
    { auto: true },
  ],
});

/** Picks a user with an email, a class and a school, so that every link has somewhere to lead. */
export async function someStudent(hub: Hub) {
  const { enrollments } = await hub.get('enrollments', {
    role: 'student',
    status: 'active',
    pageSize: '1000',
  });
  const { users } = await hub.get('users', { role: 'student', status: 'active', pageSize: '1000' });
  const emails = new Map<string, number>();
  for (const { email } of users) emails.set(email, (emails.get(email) ?? 0) + 1);
  const student = users.find(
    (user: any) =>
      user.email &&
      emails.get(user.email) === 1 &&
      enrollments.some((enrollment: any) => enrollment.user.sourcedId === user.sourcedId),
  );
  expect(student, 'a student with an email of their own and an enrollment').toBeTruthy();
  return student;
}

export const numbers = new Intl.NumberFormat('en-US');
