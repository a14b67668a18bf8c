import { NativeSelect } from '@mantine/core';
import type { Schema } from '../../api/client';
import type { useComparison } from '../../api/readiness';
import { ErrorState, LoadingLines } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber, plural } from '../../lib/format';

const worseShown = 5;

interface ComparisonProps {
  comparison: ReturnType<typeof useComparison>;
  catalogue: readonly Schema['ReadinessCheck'][];
  /** The revisions before that of the report, newest first. */
  earlier: readonly Schema['Revision'][];
  /** The one that was chosen. */
  since: number | undefined;
  onChoose: (since: string) => void;
}

/** What got worse, since the report before or since any earlier revision. */
export function Comparison({ comparison, catalogue, earlier, since, onChoose }: ComparisonProps) {
  const { timeZone } = useDistrict();
  return (
    <>
      {earlier.length > 0 && (
        <div className="comparison-base">
          <NativeSelect
            label="Compare with"
            value={since ?? ''}
            onChange={(event) => {
              onChoose(event.currentTarget.value);
            }}
          >
            <option value="">The report before</option>
            {earlier.map(({ revision, commitTime }) => (
              <option key={revision} value={revision}>
                Revision {formatNumber(revision)}, {formatDateTime(commitTime, timeZone)}
              </option>
            ))}
          </NativeSelect>
        </div>
      )}
      {since !== undefined && comparison.isPending && (
        <LoadingLines label={`Comparing with revision ${formatNumber(since)}`} lines={2} />
      )}
      {comparison.isError && (
        <ErrorState error={comparison.error} onRetry={() => void comparison.refetch()} />
      )}
      {comparison.data && (
        <GotWorse
          comparison={comparison.data}
          catalogue={catalogue}
          commitTime={
            earlier.find(({ revision }) => revision === comparison.data?.base?.revision)?.commitTime
          }
          chosen={since !== undefined}
        />
      )}
    </>
  );
}

interface GotWorseProps {
  comparison: Schema['CompareReadinessReportsResponse'];
  catalogue: readonly Schema['ReadinessCheck'][];
  /** When the earlier revision was committed, if it is still kept. */
  commitTime: string | undefined;
  /** Whether somebody asked, and is told as well that nothing got worse. */
  chosen: boolean;
}

function GotWorse({ comparison, catalogue, commitTime, chosen }: GotWorseProps) {
  const { timeZone } = useDistrict();
  const worse = (comparison.checks ?? []).filter((check) => check.worse);
  const since = [
    `revision ${formatNumber(comparison.base?.revision)}`,
    formatDateTime(commitTime, timeZone),
  ]
    .filter(Boolean)
    .join(', ');
  if (worse.length === 0) {
    return chosen ? (
      <div className="notice notice-good" role="status">
        <p className="notice-title">No check got worse since {since}</p>
      </div>
    ) : null;
  }
  return (
    <div className="notice notice-warning" role={chosen ? 'status' : undefined}>
      <div>
        <p className="notice-title">
          {plural(worse.length, 'check', 'checks')} got worse since {since}
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

/** How one check differs from an earlier revision, or the report before, in a few words; nothing if it does not. */
export function changeInWords(
  change: Schema['CheckChange'] | undefined,
  since: number | undefined,
): string {
  if (!change?.then) return '';
  const more = (change.now?.count ?? 0) - (change.then.count ?? 0);
  if (more === 0) return '';
  const base = since === undefined ? 'in the report before' : `at revision ${formatNumber(since)}`;
  return `${formatNumber(Math.abs(more))} ${more > 0 ? 'more' : 'fewer'} than ${base}.`;
}
