import { Link } from 'react-router';
import { syncsPerPage, useSyncs } from '../../api/queries';
import { Pager, useTrail } from '../../components/Pager';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { Tag } from '../../components/Tag';
import { sumOf } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber, sentence } from '../../lib/format';
import { syncState } from '../../lib/states';
import { screens } from '../../lib/urls';

export function SyncsTable() {
  const { id: district, timeZone } = useDistrict();
  const trail = useTrail();
  const syncs = useSyncs(district, trail.token);

  if (syncs.isPending) return <LoadingLines label="Loading syncs" />;
  if (syncs.isError) {
    return <ErrorState error={syncs.error} onRetry={() => void syncs.refetch()} />;
  }
  const rows = syncs.data.syncs ?? [];
  const next = syncs.data.nextPageToken;
  if (rows.length === 0) return <EmptyState title="No syncs yet" />;
  return (
    <>
      <TableScroll label="Table of syncs">
        <table className="table" aria-busy={syncs.isPlaceholderData}>
          <thead>
            <tr>
              <th scope="col">Started</th>
              <th scope="col">Source</th>
              <th scope="col">Status</th>
              <th scope="col" className="number">
                Created
              </th>
              <th scope="col" className="number">
                Updated
              </th>
              <th scope="col" className="number">
                Removed
              </th>
              <th scope="col" className="number">
                Findings
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((sync) => {
              const state = syncState(sync.state);
              return (
                <tr key={sync.syncId}>
                  <td>
                    <Link to={screens.sync(district, sync.syncId ?? '')}>
                      {formatDateTime(sync.createTime, timeZone)}
                    </Link>
                  </td>
                  <td>{sync.source}</td>
                  <td>
                    <Tag tone={state.tone}>{state.label}</Tag>
                    {sync.dryRun && <span className="soft"> Trial run</span>}
                    {sync.waitingFor && (
                      <span className="soft table-note">{sentence(sync.waitingFor)}</span>
                    )}
                  </td>
                  <td className="number">{formatNumber(sumOf(sync.counts, 'created'))}</td>
                  <td className="number">{formatNumber(sumOf(sync.counts, 'updated'))}</td>
                  <td className="number">{formatNumber(sumOf(sync.counts, 'removed'))}</td>
                  <td className="number">{formatNumber(sync.findingsCount)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </TableScroll>
      {(trail.page > 1 || next) && (
        <Pager
          label="Pages of syncs"
          page={trail.page}
          pageSize={syncsPerPage}
          shown={rows.length}
          busy={syncs.isPlaceholderData}
          {...trail.controls(next)}
        />
      )}
    </>
  );
}
