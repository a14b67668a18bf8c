const numbers = new Intl.NumberFormat('en-US');

export function formatNumber(value: number | undefined): string {
  return numbers.format(value ?? 0);
}

/** "1–100 of 4,312" */
export function formatRange(page: number, pageSize: number, shown: number, total: number): string {
  if (shown === 0) return `0 of ${formatNumber(total)}`;
  const first = (page - 1) * pageSize + 1;
  return `${formatNumber(first)}–${formatNumber(first + shown - 1)} of ${formatNumber(total)}`;
}

/** A part of a whole in percent, never rounded to "none" or "all" when it is neither. */
export function formatShare(part: number, whole: number): string {
  if (whole <= 0) return '';
  const percent = (part / whole) * 100;
  if (part > 0 && percent < 0.1) return 'under 0.1%';
  if (part < whole && percent > 99.9) return 'over 99.9%';
  return `${percent.toFixed(percent < 10 ? 1 : 0).replace(/\.0$/, '')}%`;
}

export function formatDateTime(time: string | undefined, timeZone: string): string {
  if (!time) return '';
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  const options: Intl.DateTimeFormatOptions = {
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: 'numeric',
    minute: '2-digit',
    timeZoneName: 'short',
  };
  try {
    return new Intl.DateTimeFormat('en-US', { ...options, timeZone }).format(date);
  } catch {
    // The browser may not know a zone that the hub accepts.
    return new Intl.DateTimeFormat('en-US', { ...options, timeZone: 'UTC' }).format(date);
  }
}

/** A message of the hub with the moments in it as the district's clocks show them. */
export function localTimes(message: string, timeZone: string): string {
  return message.replace(/\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)/g, (time) =>
    formatDateTime(time, timeZone),
  );
}

/** "812 KB", "1.4 GB" */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  const step = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  const value = bytes / 1000 ** step;
  return `${step > 0 && value < 10 ? value.toFixed(1) : String(Math.round(value))} ${units[step] ?? ''}`;
}

/** A day without a time, "2026-09-30", which is the same day everywhere. */
export function formatDate(day: string | undefined): string {
  const date = new Date(`${day ?? ''}T00:00:00Z`);
  if (Number.isNaN(date.getTime())) return day ?? '';
  return new Intl.DateTimeFormat('en-US', { dateStyle: 'medium', timeZone: 'UTC' }).format(date);
}

/**
 * A message of the hub as a sentence of its own. One that begins with a name, a file's for example,
 * keeps its beginning.
 */
export function sentence(message: string): string {
  const begun = /^[a-z]+ /.test(message)
    ? message.charAt(0).toUpperCase() + message.slice(1)
    : message;
  return /[.!?]$/.test(begun) || begun === '' ? begun : `${begun}.`;
}

/** "0.4 s", "12 s", "3 min 20 s" */
export function formatDuration(start: string | undefined, end: string | undefined): string {
  if (!start || !end) return '';
  const seconds = (Date.parse(end) - Date.parse(start)) / 1000;
  return Number.isNaN(seconds) || seconds < 0 ? '' : formatSeconds(seconds);
}

export function formatSeconds(seconds: number): string {
  if (seconds < 0.05) return 'under 0.1 s';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60
    ? `${String(whole)} s`
    : `${String(Math.floor(whole / 60))} min ${String(whole % 60)} s`;
}

export function plural(count: number, one: string, many: string): string {
  return `${formatNumber(count)} ${count === 1 ? one : many}`;
}
