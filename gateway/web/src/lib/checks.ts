import type { Schema } from '../api/client';

/** One line of a report's summary: what the check is and what it found. */
export interface CheckLine {
  id: string;
  check: Schema['ReadinessCheck'];
  count: number;
  informational: number;
  population: number;
  diagnosis: string;
  /** What the settings of the district make of its findings. */
  mode: Schema['CheckMode'];
  modeReason: string;
}

export interface CheckGroup {
  title: string;
  lines: CheckLine[];
}

const groups: { title: string; prefixes: string[] }[] = [
  { title: 'Students', prefixes: ['student-'] },
  { title: 'Teachers', prefixes: ['teacher-'] },
  { title: 'Administrators', prefixes: ['admin-'] },
  { title: 'Guardians', prefixes: ['guardian'] },
  { title: 'All users', prefixes: ['user-', 'email-', 'demographics-'] },
  { title: 'Classes', prefixes: ['class-'] },
  {
    title: 'Enrollments',
    prefixes: ['enrollment-', 'student-enrollments-', 'teacher-enrollments-'],
  },
  { title: 'Schools and terms', prefixes: ['school-', 'session-'] },
];

const others = 'Other';

/** The heading of the longest prefix that fits. */
function groupOf(checkId: string): string {
  let best = { title: others, length: 0 };
  for (const { title, prefixes } of groups) {
    for (const prefix of prefixes) {
      if (checkId.startsWith(prefix) && prefix.length > best.length) {
        best = { title, length: prefix.length };
      }
    }
  }
  return best.title;
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
      mode: result.mode ?? 'COUNTED',
      modeReason: result.modeReason ?? '',
    };
  });
  const place = (line: CheckLine) => position.get(line.id) ?? catalogue.length;
  lines.sort((a, b) => place(a) - place(b));
  return [...groups.map((group) => group.title), others]
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

export const modes: readonly { id: Schema['CheckMode']; label: string }[] = [
  { id: 'COUNTED', label: 'Counted' },
  { id: 'INFORMATIONAL', label: 'Informational' },
  { id: 'OFF', label: 'Off' },
];

const everywhere = (rule: Schema['CheckRule'], checkId: string) =>
  rule.checkId === checkId && !rule.product && !rule.schoolId;

/** What a district wants of a check for all products and schools. */
export function modeOf(
  rules: readonly Schema['CheckRule'][],
  checkId: string,
): Schema['CheckMode'] {
  return rules.find((rule) => everywhere(rule, checkId))?.mode ?? 'COUNTED';
}

/** The rules with another mode for all products and schools; what is usual needs no rule. */
export function withMode(
  rules: readonly Schema['CheckRule'][],
  checkId: string,
  chosen: string,
): Schema['CheckRule'][] {
  const others = rules.filter((rule) => !everywhere(rule, checkId));
  const mode = modes.find(({ id }) => id === chosen)?.id ?? 'COUNTED';
  return mode === 'COUNTED' ? others : [...others, { checkId, mode, product: '', schoolId: '' }];
}
