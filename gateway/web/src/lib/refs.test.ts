import { expect, it } from 'vitest';
import { lookups, references } from './refs';

it('finds every record that a user points to, each once', () => {
  const school = { sourcedId: 's1' };
  const user = {
    sourcedId: 'u1',
    roles: [
      { role: 'student', org: school },
      { role: 'student', org: school },
      { role: 'student', org: { sourcedId: 's2' } },
    ],
    primaryOrg: school,
    agents: [{ sourcedId: 'g1', relationship: 'mother' }, { sourcedId: '' }],
  };
  expect(references('users', user).map(({ entity, id }) => `${entity} ${id}`)).toEqual([
    'orgs s1',
    'orgs s2',
    'orgs s1',
    'users g1',
  ]);
});

it('leaves out links that the source left empty', () => {
  expect(references('classes', { sourcedId: 'c1', course: { sourcedId: '' } })).toEqual([]);
  expect(references('enrollments', {})).toEqual([]);
});

it('looks up what belongs to a record by its id', () => {
  expect(lookups('users', 'u/1').map(({ search }) => search)).toEqual([
    { userId: 'u/1' },
    { sourcedId: 'u/1' },
  ]);
  expect(lookups('courses', 'c1')).toEqual([]);
});
