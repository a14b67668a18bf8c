import { describe, expect, it } from 'vitest';
import { formatDateTime, formatDuration, formatRange, formatShare, sentence } from './format';

describe('formatRange', () => {
  it.each([
    [1, 100, 100, 4312, '1–100 of 4,312'],
    [44, 100, 12, 4312, '4,301–4,312 of 4,312'],
    [1, 100, 0, 0, '0 of 0'],
  ])('page %i of %i each, %i shown of %i', (page, size, shown, total, text) => {
    expect(formatRange(page, size, shown, total)).toBe(text);
  });
});

describe('formatShare', () => {
  it.each([
    [0, 0, ''],
    [0, 50, '0%'],
    [1, 100_000, 'under 0.1%'],
    [46, 1980, '2.3%'],
    [5, 100, '5%'],
    [99_999, 100_000, 'over 99.9%'],
    [100, 100, '100%'],
  ])('%i of %i', (part, whole, text) => {
    expect(formatShare(part, whole)).toBe(text);
  });
});

describe('formatDateTime', () => {
  it('is in the zone of the district, on both sides of a clock change', () => {
    expect(formatDateTime('2026-11-21T14:00:00Z', 'America/Chicago')).toBe(
      'Nov 21, 2026, 8:00 AM CST',
    );
    expect(formatDateTime('2026-08-01T14:00:00Z', 'America/Chicago')).toBe(
      'Aug 1, 2026, 9:00 AM CDT',
    );
  });
  it('falls back to UTC, and shows what it cannot read', () => {
    expect(formatDateTime('2026-11-21T14:00:00Z', 'Mars/Olympus')).toBe(
      'Nov 21, 2026, 2:00 PM UTC',
    );
    expect(formatDateTime('soon', 'UTC')).toBe('soon');
    expect(formatDateTime(undefined, 'UTC')).toBe('');
  });
});

describe('formatDuration', () => {
  it.each([
    ['2026-11-21T08:00:00Z', '2026-11-21T08:00:00.003Z', 'under 0.1 s'],
    ['2026-11-21T08:00:00Z', '2026-11-21T08:00:00.420Z', '0.4 s'],
    ['2026-11-21T08:00:00Z', '2026-11-21T08:00:12Z', '12 s'],
    ['2026-11-21T08:00:00Z', '2026-11-21T08:03:20Z', '3 min 20 s'],
    ['2026-11-21T08:00:00Z', undefined, ''],
  ])('from %s to %s', (start, end, text) => {
    expect(formatDuration(start, end)).toBe(text);
  });
});

describe('sentence', () => {
  it.each([
    ['the role is not known', 'The role is not known.'],
    ['users.csv: the file is empty', 'users.csv: the file is empty.'],
    ['Try again!', 'Try again!'],
    ['', ''],
  ])('%s', (message, text) => {
    expect(sentence(message)).toBe(text);
  });
});
