import { type APIResponse, expect, test as withHub } from './fixtures';

export interface Sync {
  syncId: string;
  state: string;
  revision: number;
  error: string;
}

/** A district of a test's own, whose syncs the test decides upon. */
export interface District {
  id: string;
  /** Where its screens are. */
  path: string;
  call: (method: string, path: string, data?: unknown) => Promise<any>;
  /** Uploads a package and waits until its sync has ended or waits for a person. */
  sync: (files: Record<string, string>) => Promise<Sync>;
  settled: (sync: string) => Promise<Sync>;
}

export const test = withHub.extend<{ district: District }>({
  district: async ({ page }, use, info) => {
    const id = `maple-${info.workerIndex}-${Date.now()}`;
    const answered = async (answer: APIResponse) => {
      expect(answer, `${answer.url()}: ${await answer.text()}`).toBeOK();
      return answer.json();
    };
    const call = async (method: string, path: string, data?: unknown) =>
      answered(await page.request.fetch(`/v1/districts/${id}${path}`, { method, data }));
    const settled = async (sync: string) => {
      let now: Sync | undefined;
      await expect
        .poll(async () => (now = await call('GET', `/syncs/${sync}`)).state, { timeout: 40_000 })
        .toMatch(/ON_HOLD|COMPLETED|FAILED|CANCELLED|DISCARDED|SUPERSEDED/);
      return now as Sync;
    };

    await answered(
      await page.request.post(`/v1/districts?districtId=${id}`, {
        data: { displayName: 'Maple Valley', timeZone: 'America/New_York' },
      }),
    );
    await use({
      id,
      path: `/districts/${id}`,
      call,
      settled,
      sync: async (files) => {
        const { sources } = await call('GET', '/sources');
        if (!sources.some((source: any) => source.sourceId === 'sis')) {
          await call('POST', '/sources?sourceId=sis', {
            displayName: 'SIS export',
            connector: 'oneroster-csv',
          });
        }
        const form = new FormData();
        for (const [name, text] of Object.entries(files))
          form.append('file', new File([text], name));
        const { uploadId } = await answered(
          await page.request.post(`/v1/districts/${id}/sources/sis:upload`, { multipart: form }),
        );
        const { syncId } = await call('POST', '/sources/sis:sync', { uploadId });
        return settled(syncId);
      },
    });
    await page.request.delete(`/v1/districts/${id}`);
  },
});

/** A small roster of two schools; the first student is renamed at will. */
export function roster(students: number, firstName = 'Ada'): Record<string, string> {
  const csv = (header: string, rows: string[]) => [header, ...rows, ''].join('\n');
  const each = <T>(value: (index: number) => T) =>
    Array.from({ length: students }, (_, i) => value(i));
  const school = (index: number) => (index % 2 === 0 ? 'north' : 'south');
  return {
    'orgs.csv': csv('sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId', [
      'north,,,North School,school,1,',
      'south,,,South School,school,2,',
    ]),
    'users.csv': csv(
      'sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,givenName,familyName,email',
      [
        'teacher-1,,,true,"north,south",teacher,t1,Tom,Teach,tom@maple.example',
        ...each(
          (i) =>
            `student-${i},,,true,${school(i)},student,s${i},${i === 0 ? firstName : 'Bo'},Byron ${i},s${i}@maple.example`,
        ),
      ],
    ),
    'classes.csv': csv(
      'sourcedId,status,dateLastModified,title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds',
      ['class-north,,,Art,,,,scheduled,,north,', 'class-south,,,Music,,,,scheduled,,south,'],
    ),
    'enrollments.csv': csv(
      'sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate',
      [
        'e-teacher-north,,,class-north,north,teacher-1,teacher,true,,',
        'e-teacher-south,,,class-south,south,teacher-1,teacher,true,,',
        ...each((i) => `e-${i},,,class-${school(i)},${school(i)},student-${i},student,false,,`),
      ],
    ),
  };
}
