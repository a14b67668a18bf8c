import type { Schema } from '../../api/client';
import { useTrend } from '../../api/readiness';
import { ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber } from '../../lib/format';

/** How the findings of a check went from report to report: a picture, and the same as a table. */
export function Trend({ checkId, product }: { checkId: string; product: string }) {
  const { id: district, timeZone } = useDistrict();
  const trend = useTrend(district, checkId, product);
  if (trend.isPending) return <LoadingLines label="Loading the trend" lines={3} />;
  if (trend.isError) {
    return <ErrorState error={trend.error} onRetry={() => void trend.refetch()} />;
  }
  const points = trend.data;
  if (points.length < 2) {
    return <p className="soft">A trend shows from the second report on.</p>;
  }
  return (
    <div className="trend">
      <Chart points={points} />
      <TableScroll label="Findings by report">
        <table className="table compact">
          <thead>
            <tr>
              <th scope="col">Report</th>
              <th scope="col" className="number">
                Revision
              </th>
              <th scope="col" className="number">
                To fix
              </th>
              <th scope="col" className="number">
                Informational
              </th>
            </tr>
          </thead>
          <tbody>
            {points.toReversed().map((point) => (
              <tr key={point.reportId}>
                <td>{formatDateTime(point.createTime, timeZone)}</td>
                <td className="number">{formatNumber(point.revision)}</td>
                <td className="number">{formatNumber(countOf(point))}</td>
                <td className="number">{formatNumber(point.checks?.[0]?.informationalCount)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </div>
  );
}

function countOf(point: Schema['TrendPoint']): number {
  return point.checks?.[0]?.count ?? 0;
}

const step = 10;
const height = 100;

/** A bar for each report, the oldest first. */
function Chart({ points }: { points: Schema['TrendPoint'][] }) {
  const { timeZone } = useDistrict();
  const counts = points.map(countOf);
  const most = Math.max(...counts);
  const [first, last] = [counts[0] ?? 0, counts.at(-1) ?? 0];
  return (
    <figure className="trend-chart">
      <div className="trend-plot">
        <span className="trend-most soft" aria-hidden>
          {formatNumber(most)}
        </span>
        <svg
          role="img"
          aria-label={`Findings to fix in the last ${String(points.length)} reports: ${formatNumber(first)} at first, ${formatNumber(last)} in the newest, ${formatNumber(most)} at most.`}
          viewBox={`0 0 ${String(points.length * step)} ${String(height)}`}
          preserveAspectRatio="none"
        >
          {counts.map((count, index) => {
            // Nothing is a line too, so that a report is seen that found nothing.
            const tall = most === 0 ? 1 : Math.max((count / most) * height, 1);
            return (
              <rect
                key={points[index]?.reportId}
                className={index === counts.length - 1 ? 'bar bar-newest' : 'bar'}
                x={index * step + 1}
                width={step - 2}
                y={height - tall}
                height={tall}
              />
            );
          })}
        </svg>
      </div>
      <figcaption className="soft">
        <span>{formatDateTime(points[0]?.createTime, timeZone)}</span>
        <span>{formatDateTime(points.at(-1)?.createTime, timeZone)}</span>
      </figcaption>
    </figure>
  );
}
