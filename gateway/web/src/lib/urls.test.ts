import { expect, it } from 'vitest';
import { downloads, screens, searchFrom } from './urls';

const awkward = 'a/b c&d=é%2F?#:';

it('carries any id as a query parameter and back', () => {
  const record = new URL(screens.record('demo', 'users', awkward), 'http://hub');
  expect(record.pathname).toBe('/districts/demo/data/users/record');
  expect(record.searchParams.get('id')).toBe(awkward);

  const list = new URL(screens.records('demo', 'enrollments', { userId: awkward }), 'http://hub');
  expect(searchFrom(list.searchParams)).toEqual({ userId: awkward });
});

it('leaves out what is not given', () => {
  expect(downloads.report('demo', 'r1', '')).toBe(
    '/v1/districts/demo/readinessReports/r1:download',
  );
  expect(downloads.report('demo', 'r1', 'on-call', 'c1')).toBe(
    '/v1/districts/demo/readinessReports/r1:download?product=on-call&checkId=c1',
  );
  expect(screens.records('demo', 'orgs')).toBe('/districts/demo/data/orgs');
});

it('reads search fields only', () => {
  expect(searchFrom(new URLSearchParams('q=ada&page=3&pageToken=x&role='))).toEqual({ q: 'ada' });
});
