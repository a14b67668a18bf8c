import { Button } from '@mantine/core';
import type { Schema } from '../../api/client';
import { usePackages } from '../../api/explain';
import { useMay } from '../../api/queries';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { Tag } from '../../components/Tag';
import { useDistrict } from '../../lib/district';
import { formatBytes, formatDateTime } from '../../lib/format';
import { LastSync } from './SourcesScreen';
import { useRunSync } from './useRunSync';

/** What the source has delivered lately, each to be synced from again. */
export function Packages({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const packages = usePackages(district, id);
  const sync = useRunSync(id);
  const mayRun = useMay('syncs.run') && !source.pause && !source.stopped;
  if (packages.isPending) return <LoadingLines label="Loading packages" />;
  if (packages.isError) {
    return <ErrorState error={packages.error} onRetry={() => void packages.refetch()} />;
  }
  const rows = packages.data.packages ?? [];
  return (
    <>
      <p className="soft">
        What this source has delivered is kept for a while as it came. Syncing from a package again
        makes the roster what that package says; what would change too much waits for a decision.
      </p>
      {sync.isError && <ErrorState error={sync.error} />}
      {rows.length === 0 ? (
        <EmptyState title="No packages are kept">
          <p>They appear here when the source delivers.</p>
        </EmptyState>
      ) : (
        <TableScroll label="Table of packages">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Received</th>
                <th scope="col">Files</th>
                <th scope="col">Last sync of it</th>
                {mayRun && (
                  <th scope="col">
                    <span className="visually-hidden">Actions</span>
                  </th>
                )}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <Row
                  key={row.uploadId}
                  row={row}
                  busy={sync.isPending}
                  onRun={
                    mayRun
                      ? (dryRun) => {
                          sync.run({ uploadId: row.uploadId, dryRun });
                        }
                      : undefined
                  }
                />
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
    </>
  );
}

interface RowProps {
  row: Schema['Package'];
  busy: boolean;
  onRun: ((dryRun: boolean) => void) | undefined;
}

function Row({ row, busy, onRun }: RowProps) {
  const { timeZone } = useDistrict();
  const time = formatDateTime(row.createTime, timeZone);
  const lastSync = row.syncs?.[0];
  const button = (dryRun: boolean, label: string) => (
    <Button
      variant="default"
      size="xs"
      disabled={busy}
      onClick={() => {
        onRun?.(dryRun);
      }}
    >
      {label}
      <span className="visually-hidden"> of the package of {time}</span>
    </Button>
  );
  return (
    <tr>
      <th scope="row" className="when">
        {time} {row.current && <Tag tone="good">In use</Tag>}
      </th>
      <td>
        {(row.files ?? []).map((file) => file.name).join(', ')}
        <span className="soft table-note">{formatBytes(row.size ?? 0)} compressed</span>
      </td>
      <td className="when">{lastSync ? <LastSync sync={lastSync} /> : 'Never'}</td>
      {onRun && (
        <td className="row-actions">
          {button(true, 'Trial run')}
          {button(false, 'Sync again')}
        </td>
      )}
    </tr>
  );
}
