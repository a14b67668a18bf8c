import { describe, expect, it } from 'vitest';
import { dayFromNow, startOfDay } from './zone';

describe('startOfDay', () => {
  it.each([
    ['2026-01-15', 'America/Chicago', '2026-01-15T06:00:00.000Z'],
    ['2026-07-15', 'America/Chicago', '2026-07-15T05:00:00.000Z'],
    // Days on which the clocks are changed begin by those of the night before.
    ['2026-03-08', 'America/Chicago', '2026-03-08T06:00:00.000Z'],
    ['2026-11-01', 'America/Chicago', '2026-11-01T05:00:00.000Z'],
    ['2026-07-15', 'Pacific/Auckland', '2026-07-14T12:00:00.000Z'],
    ['2026-07-15', 'UTC', '2026-07-15T00:00:00.000Z'],
  ])('%s in %s', (day, zone, expected) => {
    expect(startOfDay(day, zone)).toBe(expected);
  });
});

describe('dayFromNow', () => {
  const now = Date.parse('2026-12-31T23:30:00Z');

  it('is the day of the zone', () => {
    expect(dayFromNow(0, 'America/Chicago', now)).toBe('2026-12-31');
    expect(dayFromNow(0, 'Pacific/Auckland', now)).toBe('2027-01-01');
    expect(dayFromNow(1, 'UTC', now)).toBe('2027-01-01');
  });
});
