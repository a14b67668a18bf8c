import { expect, it } from 'vitest';
import { fieldsOf, roleLabel } from './entities';
import { roleChoices } from './roles';

it('keeps a role of the source’s own among the choices', () => {
  expect(roleChoices('users', 'ext:coach').at(-1)).toEqual({ id: 'ext:coach', label: 'ext:coach' });
  expect(roleChoices('users', 'student')).toHaveLength(roleChoices('users', undefined).length);
});

it('writes roles as words', () => {
  expect(roleLabel('districtAdministrator')).toBe('District administrator');
  expect(roleLabel('ext:coach')).toBe('ext:coach');
  expect(roleLabel('')).toBe('');
});

it('offers the search fields of each entity', () => {
  expect(fieldsOf('users')).toEqual(
    expect.arrayContaining(['sourcedId', 'role', 'email', 'orgId', 'status', 'schoolId', 'q']),
  );
  expect(fieldsOf('enrollments')).toEqual(
    expect.arrayContaining(['sourcedId', 'role', 'classId', 'userId']),
  );
  expect(fieldsOf('orgs')).toEqual(['sourcedId', 'q', 'status', 'asOf']);
});
