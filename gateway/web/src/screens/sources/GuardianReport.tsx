import type { Schema } from '../../api/client';
import { formatNumber, plural } from '../../lib/format';

/** What came, or would come, of a guardian file. */
export function GuardianReport({ report }: { report: Schema['GuardianReport'] }) {
  const percent = (value: number | undefined) => `${(value ?? 0).toFixed(1).replace(/\.0$/, '')}%`;
  const facts: [string, string | false][] = [
    [
      'Students found',
      `${percent(report.matchPercent)} of the rows (${formatNumber(report.matchedRows)} of ${formatNumber(report.rows)})${
        report.lastMatchPercent === undefined
          ? ''
          : `; the last time it was ${percent(report.lastMatchPercent)}`
      }`,
    ],
    [
      'Relationships',
      `${formatNumber(report.relationships)} between ${plural(report.students ?? 0, 'student', 'students')} and ${plural(report.guardians ?? 0, 'guardian', 'guardians')}`,
    ],
    [
      'Guardians',
      `${formatNumber(report.guardiansKnown)} are known from other sources, ${formatNumber(report.guardiansCreated)} are new`,
    ],
    ['Rows without a student', some(report.unmatchedRows, 'no student, or several, by that key')],
    ['Rows that were rejected', some(report.rejectedRows, 'the findings say why')],
    ['Rows that say it once more', some(report.duplicates)],
    ['Guardians left out', some(report.guardiansUnmatched, 'none of their students was found')],
    ['Guardians without an id', some(report.guardiansWithoutId, 'they were given one')],
    ['Ids with several names', some(report.nameConflicts)],
    ['Emails of several guardians', some(report.sharedEmails)],
    ['Emails that staff has too', some(report.staffEmails)],
  ];
  return (
    <dl className="facts">
      {facts
        .filter(([, value]) => value)
        .map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

function some(count = 0, note = ''): string | false {
  return count > 0 && `${formatNumber(count)}${note && `: ${note}`}`;
}
