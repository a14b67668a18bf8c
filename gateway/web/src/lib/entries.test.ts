import { describe, expect, it } from 'vitest';
import { asRecord, enteredFields, entryRecord, textOf, withTexts } from './entries';

describe('entries by hand', () => {
  const user = { sourcedId: 'g1', status: 'active', givenName: 'Gail', agents: [], grades: ['7'] };

  it('are records of one entity', () => {
    const entry = { record: asRecord('users', user) };
    expect(entry.record).toEqual({ user });
    expect(entryRecord(entry)).toEqual({ entity: 'users', record: user });
    expect(entryRecord({})).toBeUndefined();
  });

  it('say what was entered in words', () => {
    expect(enteredFields('users', user)).toEqual(['First name', 'Grades']);
  });

  it('take texts, and lose those that were emptied', () => {
    expect(withTexts(user, { givenName: ' ', email: ' g@maple.example ' })).toEqual({
      sourcedId: 'g1',
      status: 'active',
      agents: [],
      grades: ['7'],
      email: 'g@maple.example',
    });
    expect(textOf(user, 'givenName')).toBe('Gail');
    expect(textOf(user, 'grades')).toBe('');
  });
});
