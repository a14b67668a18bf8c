/** What the clocks of a zone show at a moment, as the moment at which those of UTC show it. */
function clocks(at: number, timeZone: string): number {
  const shown = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  }).formatToParts(at);
  const part = (type: Intl.DateTimeFormatPartTypes) =>
    Number(shown.find((candidate) => candidate.type === type)?.value);
  return Date.UTC(
    part('year'),
    part('month') - 1,
    part('day'),
    part('hour'),
    part('minute'),
    part('second'),
  );
}

/** When a day, "2026-11-01", begins by the clocks of a zone. */
export function startOfDay(day: string, timeZone: string): string {
  const wanted = Date.parse(`${day}T00:00:00Z`);
  let at = wanted;
  // Twice: the clocks may be changed between the first guess and the moment that is meant.
  for (let guess = 0; guess < 2; guess++) at += wanted - clocks(at, timeZone);
  return new Date(at).toISOString();
}

/** The day that it is now, or in some days, by the clocks of a zone. */
export function dayFromNow(days: number, timeZone: string, now = Date.now()): string {
  return new Date(clocks(now, timeZone) + days * 86_400_000).toISOString().slice(0, 10);
}
