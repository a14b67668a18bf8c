import { describe, expect, it } from 'vitest';
import { groupReasons, thresholdsOf } from './holds';

describe('thresholdsOf', () => {
  it('puts what belongs together together', () => {
    const rows = thresholdsOf({
      'schools-removed': { min: 1 },
      'many-removals.users': { percent: 5 },
      'many-removals': { percent: 10 },
    });
    expect(rows.map(({ label }) => label)).toEqual([
      'Many removals',
      'Many removals: Users',
      'Schools would go',
    ]);
    expect(rows[1]?.percent).toBe(5);
  });
});

describe('groupReasons', () => {
  it('keeps the order of types', () => {
    const groups = groupReasons([
      { type: 'many-updates', message: 'a' },
      { type: 'many-removals', message: 'b' },
      { type: 'many-updates', message: 'c' },
    ]);
    expect(groups.map(({ title, reasons }) => [title, reasons.length])).toEqual([
      ['Many changes', 2],
      ['Many removals', 1],
    ]);
  });
});
