import type { Schema } from '../../api/client';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber, plural } from '../../lib/format';

const worseShown = 5;

/** The checks that got worse since the report before, above all others. */
export function GotWorse({
  comparison,
  catalogue,
}: {
  comparison: Schema['CompareReadinessReportsResponse'];
  catalogue: readonly Schema['ReadinessCheck'][];
}) {
  const { timeZone } = useDistrict();
  const worse = (comparison.checks ?? []).filter((check) => check.worse);
  if (worse.length === 0) return null;
  const { base } = comparison;
  return (
    <div className="notice notice-warning">
      <div>
        <p className="notice-title">
          {plural(worse.length, 'check', 'checks')} got worse since revision{' '}
          {formatNumber(base?.revision)}, {formatDateTime(base?.createTime, timeZone)}
        </p>
        <ul>
          {worse.slice(0, worseShown).map((check) => (
            <li key={check.checkId}>
              {catalogue.find((known) => known.checkId === check.checkId)?.title ?? check.checkId}:{' '}
              {formatNumber(check.now?.count)}, before {formatNumber(check.then?.count)}
            </li>
          ))}
          {worse.length > worseShown && <li>and {formatNumber(worse.length - worseShown)} more</li>}
        </ul>
      </div>
    </div>
  );
}

/** How one check differs from the report before, in a few words; nothing if it does not. */
export function changeInWords(change: Schema['CheckChange'] | undefined): string {
  if (!change?.then) return '';
  const more = (change.now?.count ?? 0) - (change.then.count ?? 0);
  if (more === 0) return '';
  return `${formatNumber(Math.abs(more))} ${more > 0 ? 'more' : 'fewer'} than in the report before.`;
}
