import { describe, expect, it } from 'vitest';
import {
  columnOf,
  covered,
  fieldsOf,
  sameColumn,
  sameMapping,
  valueOf,
  withValue,
} from './mapping';

describe('mapped fields', () => {
  it('are a column or a text', () => {
    expect(columnOf('{Student ID}')).toBe('Student ID');
    expect(columnOf(valueOf('odd {name}'))).toBe('odd {name}');
    expect(columnOf('{SchoolID}-{SectionID}')).toBeUndefined();
    expect(columnOf('student')).toBeUndefined();
    expect(sameColumn('Student_ID', 'student id')).toBe(true);
  });

  it('stand in the order of the standard', () => {
    const fields = { 'metadata.house': {}, email: {}, role: {}, sourcedId: {} };
    expect(fieldsOf({ entity: 'users', fields })).toEqual([
      'sourcedId',
      'role',
      'email',
      'metadata.house',
    ]);
  });

  it('leave other values as they are, unless something was said of them', () => {
    expect(withValue({ value: '{Type}' }, 'S', 'student')).toEqual({
      value: '{Type}',
      values: { S: 'student' },
      otherwise: '{Type}',
    });
    expect(withValue({ value: '{Type}', values: { T: 'teacher' } }, 'S', 'student')).toEqual({
      value: '{Type}',
      values: { T: 'teacher', S: 'student' },
    });
  });
});

describe('mappings', () => {
  const mapping = {
    records: [
      { entity: 'users', file: 'staff.csv', fields: { role: { value: '{Title}' } } },
      { entity: 'users', file: 'students.csv', fields: { role: { value: 'student' } } },
    ],
  };

  it('cover a value in the file that has it', () => {
    const value = { file: 'Staff.csv', column: 'Title', field: 'role', value: 'Nurse' };
    const next = covered(mapping, 'users', value, 'aide');
    expect(next.records?.[0]?.fields?.role?.values).toEqual({ Nurse: 'aide' });
    expect(next.records?.[1]).toEqual(mapping.records[1]);
  });

  it('are the same whatever the order', () => {
    const a = { records: [{ entity: 'orgs', file: 'a.csv', where: [], keepUnmapped: false }] };
    expect(sameMapping(a, { records: [{ file: 'a.csv', entity: 'orgs' }] })).toBe(true);
    expect(sameMapping(a, mapping)).toBe(false);
  });
});
