import type { Schema } from '../api/client';

type Weekday = Schema['Weekday'];

export const weekdays: readonly { id: Weekday; label: string }[] = [
  { id: 'MONDAY', label: 'Monday' },
  { id: 'TUESDAY', label: 'Tuesday' },
  { id: 'WEDNESDAY', label: 'Wednesday' },
  { id: 'THURSDAY', label: 'Thursday' },
  { id: 'FRIDAY', label: 'Friday' },
  { id: 'SATURDAY', label: 'Saturday' },
  { id: 'SUNDAY', label: 'Sunday' },
];

/** "Every day", "Monday to Friday" or "Monday, Thursday"; no weekday means all. */
export function daysInWords(days: readonly Weekday[] = []): string {
  const places = weekdays.flatMap(({ id }, place) => (days.includes(id) ? [place] : []));
  const label = (place: number | undefined) => weekdays[place ?? 0]?.label ?? '';
  const [first, last] = [places.at(0), places.at(-1)];
  if (first === undefined || last === undefined || places.length === 7) return 'Every day';
  if (places.length > 2 && last - first === places.length - 1) {
    return `${label(first)} to ${label(last)}`;
  }
  return places.map(label).join(', ');
}

/** "02:30" becomes "2:30 AM"; 24:00 is the end of a day. */
export function clockTime(time: string | undefined): string {
  const [hours, minutes] = (time ?? '').split(':');
  if (!minutes) return time ?? '';
  if (time === '24:00') return 'midnight';
  const hour = Number(hours);
  return `${String(hour % 12 || 12)}:${minutes} ${hour < 12 ? 'AM' : 'PM'}`;
}

/** "Monday to Friday at 2:30 AM and 1:00 PM" */
export function scheduleInWords(schedule: Schema['Schedule']): string {
  const times = [...(schedule.times ?? [])].sort().map(clockTime);
  const last = times.pop() ?? '';
  return `${daysInWords(schedule.weekdays)} at ${times.length > 0 ? `${times.join(', ')} and ${last}` : last}`;
}
