// A made-up hub in memory, for `MOCK=1 npm run dev`. It is no part of the build.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Plugin } from 'vite';

const pick = <T>(from: readonly T[], n: number): T => from[n % from.length] as T;
const given = ['Ada', 'Ben', 'Cleo', 'Dan', 'Eve', 'Finn', 'Gia', 'Hugo', 'Ines', 'José'];
const family = ['Abbott', 'Brook', 'Castro', "D'Angelo", 'Evans', 'Frost', 'Gray', 'Hill'];
const base = { status: 'active', dateLastModified: '2026-11-20T08:00:00.000Z' };

const orgs = [
  { ...base, sourcedId: 'district', name: 'Maple County Schools', type: 'district' },
  ...['Maple High School', 'Oak Middle School', 'Birch Elementary'].map((name, n) => ({
    ...base,
    sourcedId: `school/${String(n + 1)}`,
    name,
    type: 'school',
    identifier: `10${String(n)}`,
    parent: { sourcedId: 'district' },
  })),
];
const academicSessions = [
  {
    ...base,
    sourcedId: 'year',
    title: '2026-2027',
    type: 'schoolYear',
    startDate: '2026-08-10',
    endDate: '2027-06-04',
    schoolYear: '2027',
  },
  {
    ...base,
    sourcedId: 'fall',
    title: 'Fall',
    type: 'term',
    startDate: '2026-08-10',
    endDate: '2026-12-18',
    schoolYear: '2027',
    parent: { sourcedId: 'year' },
  },
];
const courses = Array.from({ length: 30 }, (_, n) => ({
  ...base,
  sourcedId: `course-${String(n)}`,
  title: `Course ${String(n)}`,
  courseCode: `C${String(n)}`,
  org: { sourcedId: 'district' },
  grades: ['09'],
}));
const classes = Array.from({ length: 120 }, (_, n) => ({
  ...base,
  sourcedId: `class-${String(n)}`,
  title: `Course ${String(n % 30)} section ${String(n)}`,
  classCode: `S${String(n)}`,
  classType: 'scheduled',
  course: { sourcedId: `course-${String(n % 30)}` },
  school: { sourcedId: `school/${String((n % 3) + 1)}` },
  terms: [{ sourcedId: 'fall' }],
  periods: ['1'],
}));
const users = Array.from({ length: 2312 }, (_, n) => {
  const role = n < 2000 ? 'student' : n < 2100 ? 'teacher' : n < 2110 ? 'principal' : 'parent';
  return {
    ...base,
    status: n % 97 === 96 ? 'tobedeleted' : 'active',
    sourcedId: `user:${String(n).padStart(5, '0')}`,
    givenName: pick(given, n),
    familyName: pick(family, n * 7),
    email: n % 41 === 40 ? '' : `${pick(given, n).toLowerCase()}.${String(n)}@maple.example`,
    roles: [{ roleType: 'primary', role, org: { sourcedId: `school/${String((n % 3) + 1)}` } }],
    grades: role === 'student' ? [String((n % 4) + 9).padStart(2, '0')] : [],
    agents:
      role === 'student'
        ? [
            {
              sourcedId: `user:${String(2110 + (n % 200))}`.replace(/(\d+)$/, (d) =>
                d.padStart(5, '0'),
              ),
              relationship: 'mother',
            },
          ]
        : [],
    metadata: {
      homeroom:
        'A "quoted" value that is rather long, to see how a long line behaves in the raw data',
    },
  };
});
const enrollments = Array.from({ length: 4312 }, (_, n) => ({
  ...base,
  sourcedId: `e${String(n)}`,
  user: { sourcedId: `user:${String(n % 2000).padStart(5, '0')}` },
  class: { sourcedId: `class-${String(n % 120)}` },
  school: { sourcedId: `school/${String((n % 3) + 1)}` },
  role: 'student',
  beginDate: '2026-08-10',
  endDate: n % 9 ? '2027-06-04' : '',
}));
const demographics = users
  .slice(0, 2000)
  .map((user) => ({ ...base, sourcedId: user.sourcedId, birthDate: '2010-04-01', sex: 'female' }));
const roster: Record<string, Record<string, unknown>[]> = {
  orgs,
  academicSessions,
  courses,
  classes,
  users,
  enrollments,
  demographics,
};

const products = [
  'AI Chat',
  'Aware',
  'Classroom',
  'Discern',
  'Filter',
  'Flex',
  'Home',
  'On-Call',
  'Pass',
  'Reveal',
  'Rhithm',
].map((displayName) => ({ productId: displayName.toLowerCase().replace(' ', '-'), displayName }));
const all = products.map((product) => product.productId);
const check = (checkId: string, title: string, counts: string, ids = all, severity = 'ERROR') => ({
  checkId,
  title,
  counts,
  products: ids,
  severity,
  needsFix: true,
  description: `What “${title}” means for the products that rely on it.`,
  howToFix:
    'A large number points to a column that is mapped to the wrong field; a small one to data entry. Correct it in your student information system and sync again.',
  knownIssues: counts.includes('–')
    ? 'Removed guardians may still be listed. They are marked as needing no action.'
    : '',
});
const catalogue = [
  check('student-email-missing', 'Student has no email', 'students'),
  check(
    'student-guardians-missing',
    'Student has no guardians',
    'students',
    ['home', 'on-call'],
    'ALERT',
  ),
  check('student-email-duplicate', 'Student email used for multiple users', 'students'),
  check('teacher-email-duplicate', 'Teacher email used for multiple users', 'teachers'),
  check('admin-email-duplicate', 'Administrator email used for multiple users', 'administrators'),
  check(
    'guardian-address-missing',
    'Guardian has no address',
    'student–guardian relationships',
    ['on-call'],
    'ALERT',
  ),
  check(
    'guardian-email-missing',
    'Guardian has no email',
    'student–guardian relationships',
    ['on-call', 'home'],
    'ALERT',
  ),
  check('class-terms-missing', 'Class has no terms', 'classes'),
  check('class-course-missing', 'Class has no course', 'classes'),
  check('teacher-enrollments-missing', 'School has no teacher enrollments', 'schools'),
  check('student-enrollments-missing', 'School has no student enrollments', 'schools'),
  check('enrollment-end-date-missing', 'Enrollment has no end date', 'enrollments', all, 'ALERT'),
];
const found: Record<string, [number, number, number, string]> = {
  'student-email-missing': [
    46,
    3,
    1980,
    'A few records, spread over all schools: probably data entry.',
  ],
  'student-guardians-missing': [0, 0, 1980, ''],
  'guardian-address-missing': [
    1980,
    20,
    1980,
    'Every relationship is affected: the address is probably not mapped at all.',
  ],
  'enrollment-end-date-missing': [479, 0, 4312, 'One enrollment in nine, in every school.'],
};
const results = (product: string) =>
  catalogue
    .filter((c) => !product || c.products.includes(product))
    .map(({ checkId }) => {
      const [count, informationalCount, population, diagnosis] = found[checkId] ?? [0, 0, 120, ''];
      return { checkId, count, informationalCount, population, diagnosis };
    });
const reports = Array.from({ length: 23 }, (_, n) => ({
  reportId: `01KB9ZQ4T7M3X2V8N5R${String(600 - n)}`,
  createTime: new Date(Date.UTC(2026, 10, 21, 14) - n * 86400000).toISOString(),
  state: n === 2 ? 'FAILED' : 'COMPLETED',
  revision: 40 - n,
  automatic: n > 0,
  error: n === 2 ? 'The roster of revision 38 could not be read.' : '',
}));
const findings = (checkId: string) =>
  users.slice(0, (found[checkId]?.[0] ?? 0) + (found[checkId]?.[1] ?? 0)).map((user, n) => ({
    checkId,
    entity: 'users',
    sourcedId: user.sourcedId,
    displayName: `${user.givenName} ${user.familyName}`,
    role: 'student',
    email: user.email,
    schoolId: 'school/1',
    schoolName: 'Maple High School',
    grades: user.grades,
    relatedSourcedId: checkId.startsWith('guardian') ? 'user:02115' : '',
    relatedName: checkId.startsWith('guardian') ? 'Pat Frost' : '',
    actionable: n >= 3,
    reason: n >= 3 ? 'The email is empty.' : 'The record was removed in the source.',
  }));
const counts = Object.fromEntries(
  Object.entries(roster).map(([entity, records]) => [
    entity,
    {
      received: records.length + 2,
      created: 3,
      updated: 12,
      removed: 1,
      unchanged: records.length,
      rejected: 2,
    },
  ]),
);
const syncs = Array.from({ length: 14 }, (_, n) => ({
  syncId: `01SYNC${String(90 - n)}`,
  source: 'sis',
  state: n === 0 ? 'COMPLETED' : n === 3 ? 'FAILED' : 'COMPLETED',
  createTime: new Date(Date.UTC(2026, 10, 21, 8) - n * 86400000).toISOString(),
  endTime: new Date(Date.UTC(2026, 10, 21, 8, 0, 4) - n * 86400000).toISOString(),
  revision: 40 - n,
  counts: n === 3 ? {} : counts,
  findingsCount: n === 3 ? 1 : 31,
  rowsRead: 9000,
  error:
    n === 3
      ? 'users.csv: the column “sourcedId” is missing from the header (row 1). Export the file again with all required columns.'
      : '',
  steps: ['QUEUED', 'PULLING', 'NORMALISING', 'PLANNING', 'COMMITTING'].map((state, s) => ({
    state,
    startTime: new Date(Date.UTC(2026, 10, 21, 8, 0, s)).toISOString(),
    endTime: new Date(Date.UTC(2026, 10, 21, 8, 0, s, 700)).toISOString(),
  })),
}));
const syncFindings = Array.from({ length: 31 }, (_, n) => ({
  level: n % 3 ? 'row' : 'value',
  code: 'row-ragged',
  file: 'users.csv',
  row: 17 + n,
  column: n % 3 ? '' : 'email',
  sourcedId: `user:000${String(n)}`,
  message: n % 3 ? 'The row has 11 fields and the header has 12.' : 'The email has no “@”.',
}));

function page<T>(list: T[], query: URLSearchParams) {
  const size = Number(query.get('pageSize')) || 100;
  const start = Number(query.get('pageToken')) || 0;
  return {
    rows: list.slice(start, start + size),
    nextPageToken: start + size < list.length ? String(start + size) : '',
    totalSize: list.length,
  };
}

function matches(record: Record<string, unknown>, query: URLSearchParams): boolean {
  const text = JSON.stringify(record).toLowerCase();
  return [
    'sourcedId',
    'role',
    'email',
    'orgId',
    'classId',
    'userId',
    'schoolId',
    'status',
    'q',
  ].every((field) => {
    const value = query.get(field);
    if (!value) return true;
    if (field === 'sourcedId' || field === 'status') return record[field] === value;
    return text.includes(JSON.stringify(value).slice(1, -1).toLowerCase());
  });
}

const used = new Set<string | null>();
const sessions = new Set<string>();

function answer(request: IncomingMessage, response: ServerResponse, next: () => void) {
  const url = new URL(request.url ?? '/', 'http://mock');
  const query = url.searchParams;
  const send = (body: unknown, status = 200) => {
    response.statusCode = status;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(body));
  };
  const session = /mock=(\w+)/.exec(request.headers.cookie ?? '')?.[1] ?? '';
  if (url.pathname === '/auth/link') {
    const code = query.get('code') ?? '';
    const good = code.startsWith('good') && !used.has(code);
    used.add(code);
    if (good) sessions.add(code);
    response.statusCode = 303;
    if (good) response.setHeader('set-cookie', `mock=${code}; Path=/; HttpOnly`);
    response.setHeader('location', good ? '/' : '/?signin=expired');
    return void response.end();
  }
  if (url.pathname === '/auth/logout') {
    sessions.delete(session);
    response.statusCode = 204;
    return void response.end();
  }
  if (!url.pathname.startsWith('/v1/')) return void next();
  if (!sessions.has(session))
    return send({ code: 401, reason: 'unauthenticated', message: 'Sign in first.' }, 401);
  if (url.pathname === '/v1/me')
    return send({
      subject: 'operator',
      displayName: 'Operator',
      scopes: ['readiness.run'],
      districts: ['*'],
    });
  if (url.pathname === '/v1/districts')
    return send({
      districts: [
        { districtId: 'demo', displayName: 'Maple County Schools', timeZone: 'America/Chicago' },
      ],
    });
  if (url.pathname === '/v1/readinessChecks') return send({ readinessChecks: catalogue, products });
  const path = url.pathname.replace('/v1/districts/demo/', '');
  if (path === 'overview')
    return send({
      roster: {
        revision: 40,
        commitTime: syncs[0]?.endTime,
        active: Object.fromEntries(
          Object.entries(roster).map(([e, r]) => [
            e,
            r.filter((x) => x.status === 'active').length,
          ]),
        ),
        total: Object.fromEntries(Object.entries(roster).map(([e, r]) => [e, r.length])),
        usersByRole: { student: 1980, teacher: 99, administrator: 10, guardian: 200 },
      },
      lastSync: syncs[0],
      lastReport: { ...reports.find((r) => r.state === 'COMPLETED'), checks: results('') },
    });
  if (path === 'readinessReports' && request.method === 'POST') {
    const report = {
      reportId: `01KC0NEW${String(Date.now())}`,
      createTime: new Date().toISOString(),
      state: 'QUEUED',
      revision: 40,
      automatic: false,
      error: '',
    };
    reports.unshift(report);
    setTimeout(() => (report.state = 'PROCESSING'), 1000);
    setTimeout(() => (report.state = 'COMPLETED'), 2500);
    return send(report);
  }
  if (path === 'readinessReports') {
    const { rows, nextPageToken } = page(reports, query);
    return send({ readinessReports: rows, nextPageToken });
  }
  let match = /^readinessReports\/([^/:]+)(\/findings|:download)?$/.exec(path);
  if (match?.[2] === '/findings') {
    const { rows, ...rest } = page(findings(query.get('checkId') ?? ''), query);
    return send({ findings: rows, ...rest });
  }
  if (match?.[2]) {
    response.setHeader('content-type', 'text/csv');
    response.setHeader('content-disposition', 'attachment; filename="report.csv"');
    return void response.end('checkId,sourcedId\r\n');
  }
  if (match)
    return send({
      ...reports.find((r) => r.reportId === match?.[1]),
      checks:
        match[1] === reports[1]?.reportId
          ? results('').map((r) => ({ ...r, count: 0 }))
          : results(query.get('product') ?? ''),
    });
  match = /^syncs(?:\/([^/]+)(\/findings)?)?$/.exec(path);
  if (match?.[2]) {
    const { rows, ...rest } = page(syncFindings, query);
    return send({ findings: rows, ...rest });
  }
  if (match?.[1]) return send(syncs.find((s) => s.syncId === match?.[1]));
  if (match) {
    const { rows, nextPageToken } = page(syncs, query);
    return send({ syncs: rows, nextPageToken });
  }
  match = /^([a-zA-Z]+)(:get|:history|:export)?$/.exec(path);
  const entity = match?.[1] ?? '';
  const records = roster[entity];
  if (!records)
    return send({ code: 404, reason: 'not_found', message: 'There is no such thing.' }, 404);
  const one =
    {
      orgs: 'org',
      academicSessions: 'academicSession',
      courses: 'course',
      classes: 'class',
      users: 'user',
      enrollments: 'enrollment',
      demographics: 'demographics',
    }[entity] ?? '';
  const record = records.find((r) => r.sourcedId === query.get('sourcedId'));
  if (match?.[2] === ':get')
    return record
      ? send({ record: { [one]: record }, revision: 40, fromRevision: 12 })
      : send({ code: 404, reason: 'not_found', message: 'No such record.' }, 404);
  if (match?.[2] === ':history')
    return send({
      versions: [
        {
          fromRevision: 12,
          commitTime: '2026-11-02T08:00:00Z',
          fields: [{ field: 'email', before: '""', after: '"ada.0@maple.example"' }],
        },
        { fromRevision: 1, toRevision: 12, commitTime: '2026-08-01T08:00:00Z' },
      ],
    });
  const { rows, ...rest } = page(
    records.filter((r) => matches(r, query)),
    query,
  );
  return send({ [entity]: rows, revision: 40, ...rest });
}

export function mockHub(): Plugin {
  return { name: 'mock-hub', configureServer: (server) => void server.middlewares.use(answer) };
}
