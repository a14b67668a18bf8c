import type { Schema } from '../api/client';

/** One line of a report's summary: what the check is and what it found. */
export interface CheckLine {
  id: string;
  check: Schema['ReadinessCheck'];
  count: number;
  informational: number;
  population: number;
  diagnosis: string;
}

export interface CheckGroup {
  title: string;
  lines: CheckLine[];
}

// In this order; the first prefix that fits decides, so the longer ones come first.
const groups: { title: string; prefixes: string[] }[] = [
  {
    title: 'Enrollments',
    prefixes: ['enrollment-', 'student-enrollments-', 'teacher-enrollments-'],
  },
  { title: 'Students', prefixes: ['student-'] },
  { title: 'Teachers', prefixes: ['teacher-'] },
  { title: 'Administrators', prefixes: ['admin-'] },
  { title: 'Guardians', prefixes: ['guardian'] },
  { title: 'Classes', prefixes: ['class-'] },
];

const order = [
  'Students',
  'Teachers',
  'Administrators',
  'Guardians',
  'Classes',
  'Enrollments',
  'Other',
];

function groupOf(checkId: string): string {
  const found = groups.find((group) => group.prefixes.some((prefix) => checkId.startsWith(prefix)));
  return found?.title ?? 'Other';
}

/** A report's checks under the headings of the page, in the catalogue's order within each. */
export function groupChecks(
  results: readonly Schema['CheckResult'][],
  catalogue: readonly Schema['ReadinessCheck'][],
): CheckGroup[] {
  const position = new Map(catalogue.map((check, index) => [check.checkId, index]));
  const lines = results.map((result): CheckLine => {
    const id = result.checkId ?? '';
    return {
      id,
      check: catalogue.find((check) => check.checkId === id) ?? { checkId: id, title: id },
      count: result.count ?? 0,
      informational: result.informationalCount ?? 0,
      population: result.population ?? 0,
      diagnosis: result.diagnosis ?? '',
    };
  });
  const place = (line: CheckLine) => position.get(line.id) ?? catalogue.length;
  lines.sort((a, b) => place(a) - place(b));
  return order
    .map((title) => ({ title, lines: lines.filter((line) => groupOf(line.id) === title) }))
    .filter((group) => group.lines.length > 0);
}

export interface Totals {
  checks: number;
  /** Checks with something to fix. */
  failing: number;
  findings: number;
  informational: number;
}

export function totals(results: readonly Schema['CheckResult'][]): Totals {
  const sum = (values: (number | undefined)[]) => values.reduce<number>((a, b) => a + (b ?? 0), 0);
  return {
    checks: results.length,
    failing: results.filter((result) => (result.count ?? 0) > 0).length,
    findings: sum(results.map((result) => result.count)),
    informational: sum(results.map((result) => result.informationalCount)),
  };
}
