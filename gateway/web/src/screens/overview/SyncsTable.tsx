import { Link } from 'react-router';
import { syncsPerPage, useSyncs } from '../../api/queries';
import { KindHeadings } from '../../components/KindHeadings';
import { Pager, useTrail } from '../../components/Pager';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { Tag } from '../../components/Tag';
import { changeKinds, sumOf } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber, sentence } from '../../lib/format';
import { syncState } from '../../lib/states';
import { screens } from '../../lib/urls';

/** Syncs of all sources, or of one. */
export function SyncsTable({ source = '' }: { source?: string }) {
  const { id: district, timeZone } = useDistrict();
  const trail = useTrail();
  const syncs = useSyncs(district, source, trail.token);

  if (syncs.isPending) return <LoadingLines label="Loading syncs" />;
  if (syncs.isError) {
    return <ErrorState error={syncs.error} onRetry={() => void syncs.refetch()} />;
  }
  const rows = syncs.data.syncs ?? [];
  if (rows.length === 0) return <EmptyState title="No syncs yet" />;
  return (
    <>
      <TableScroll label="Table of syncs">
        <table className="table" aria-busy={syncs.isPlaceholderData}>
          <thead>
            <tr>
              <th scope="col">Started</th>
              {!source && <th scope="col">Source</th>}
              <th scope="col">Status</th>
              <KindHeadings />
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
                  {!source && <td>{sync.source}</td>}
                  <td>
                    <Tag tone={state.tone}>{state.label}</Tag>
                    {sync.dryRun && <span className="soft"> Trial run</span>}
                    {sync.waitingFor && (
                      <span className="soft table-note">{sentence(sync.waitingFor)}</span>
                    )}
                  </td>
                  {changeKinds.map((kind) => (
                    <td key={kind.id} className="number">
                      {formatNumber(sumOf(sync.counts, kind.id))}
                    </td>
                  ))}
                  <td className="number">{formatNumber(sync.findingsCount)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </TableScroll>
      <Pager
        label="Pages of syncs"
        paging={trail}
        pageSize={syncsPerPage}
        shown={rows.length}
        busy={syncs.isPlaceholderData}
        next={syncs.data.nextPageToken}
      />
    </>
  );
}
