import { describe, expect, it } from 'vitest';
import { clockTime, daysInWords, scheduleInWords } from './schedule';

describe('a schedule in words', () => {
  it('names days', () => {
    expect(daysInWords([])).toBe('Every day');
    expect(daysInWords(['FRIDAY', 'MONDAY'])).toBe('Monday, Friday');
    expect(daysInWords(['TUESDAY', 'MONDAY', 'WEDNESDAY'])).toBe('Monday to Wednesday');
  });

  it('names times', () => {
    expect(['00:05', '12:00', '13:30', '24:00', 'soon'].map(clockTime)).toEqual([
      '12:05 AM',
      '12:00 PM',
      '1:30 PM',
      'midnight',
      'soon',
    ]);
  });

  it('names both', () => {
    expect(scheduleInWords({ times: ['13:00', '02:30', '06:00'] })).toBe(
      'Every day at 2:30 AM, 6:00 AM and 1:00 PM',
    );
  });
});
