import { Button } from '@mantine/core';
import { IconDownload } from '@tabler/icons-react';
import { Link, useParams } from 'react-router';
import type { Schema } from '../../api/client';
import { findingsPerPage, useMay, useSync, useSyncFindings } from '../../api/queries';
import { syncChanges } from '../../api/revisions';
import { ChangesBrowser } from '../../components/ChangesBrowser';
import { KindHeadings } from '../../components/KindHeadings';
import { Page } from '../../components/Page';
import { Pager, useTrail } from '../../components/Pager';
import { EmptyState, ErrorState, Loading, LoadingLines } from '../../components/States';
import { SyncProgress } from '../../components/SyncProgress';
import { TableScroll } from '../../components/TableScroll';
import { Tag } from '../../components/Tag';
import { changesIn, changesInWords } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { entities } from '../../lib/entities';
import {
  formatDateTime,
  formatDuration,
  formatNumber,
  localTimes,
  sentence,
} from '../../lib/format';
import { syncState } from '../../lib/states';
import { downloads, screens } from '../../lib/urls';
import { GuardianReport } from '../sources/GuardianReport';
import { SharingPreview } from '../sources/SharingPreview';
import { useRunSync } from '../sources/useRunSync';
import { CancelSync, DecisionForm, Withheld } from './Decision';
import { Applied, HoldReasons } from './HoldReasons';

export function SyncScreen() {
  const { id: district, timeZone } = useDistrict();
  const { sync: id = '' } = useParams();
  const sync = useSync(district, id);

  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.overview(district)}>Overview</Link>
      </nav>
      {sync.isPending ? (
        <Loading label="Loading the sync" />
      ) : sync.isError ? (
        <ErrorState error={sync.error} onRetry={() => void sync.refetch()} />
      ) : (
        <Page
          title={`Sync of ${formatDateTime(sync.data.createTime, timeZone)}`}
          intro={sentence(sync.data.reason ?? '') || undefined}
          actions={
            <span aria-live="polite">
              <Tag tone={syncState(sync.data.state).tone}>{syncState(sync.data.state).label}</Tag>
            </span>
          }
        >
          {sync.data.error && (
            <div className="notice notice-bad" role="alert">
              <div>
                <p className="notice-title">This sync failed. Your data is as it was before.</p>
                <p>{sentence(localTimes(sync.data.error, timeZone))}</p>
                {sync.data.errorReason === 'SFTP_HOST_KEY_CHANGED' && (
                  <p>
                    <Link to={screens.source(district, sync.data.source ?? '')}>
                      Compare the new fingerprint
                    </Link>
                  </p>
                )}
              </div>
            </div>
          )}
          <Waiting sync={sync.data} at={sync.dataUpdatedAt} />
          <TrialRun sync={sync.data} />
          <HoldReasons sync={sync.data} />
          <Applied sync={sync.data} />
          {sync.data.state === 'ON_HOLD' && (
            // A plan that was made anew is a new question.
            <DecisionForm key={JSON.stringify(sync.data.counts)} sync={sync.data} />
          )}
          <Withheld sync={sync.data} />
          <Facts sync={sync.data} />
          <Counts counts={sync.data.counts ?? {}} />
          {sync.data.guardians && (
            <section aria-labelledby="guardians">
              <h2 id="guardians">What came of the guardian file</h2>
              <div className="card panel">
                <GuardianReport report={sync.data.guardians} />
              </div>
            </section>
          )}
          {Object.keys(sync.data.shared ?? {}).length > 0 && (
            <section aria-labelledby="shared">
              <h2 id="shared">What was shared</h2>
              <SharingPreview counts={sync.data.shared ?? {}} />
            </section>
          )}
          <Changes sync={sync.data} />
          <section aria-labelledby="findings">
            <h2 id="findings">Faults in the data</h2>
            <p className="soft">
              Rows that were rejected, values that were dropped and what else was odd. Fix it in the
              file that is named, then sync again.
            </p>
            {/* Starts over when the sync ends: it finds faults while it runs. */}
            <SyncFindings key={sync.data.state} sync={id} />
          </section>
        </Page>
      )}
    </>
  );
}

function Waiting({ sync, at }: { sync: Schema['Sync']; at: number }) {
  const state = syncState(sync.state);
  if (state.final || sync.state === 'COMMITTING') return null;
  return (
    <div className="notice notice-neutral" role="status">
      <div>
        <p className="notice-title">
          {sync.waitingFor ? 'This sync waits' : 'This sync is under way'}
        </p>
        <p>{sync.waitingFor ? sentence(sync.waitingFor) : 'This page follows it by itself.'}</p>
        <SyncProgress sync={sync} at={at} />
      </div>
      <CancelSync sync={sync} />
    </div>
  );
}

/** What a trial run is, and the way from it to a sync of the same package. */
function TrialRun({ sync }: { sync: Schema['Sync'] }) {
  const start = useRunSync(sync.source ?? '');
  const mayRun = useMay('syncs.run');
  if (!sync.dryRun || sync.state !== 'COMPLETED') return null;
  return (
    <>
      <div className="notice notice-neutral">
        <div>
          <p className="notice-title">This was a trial run: nothing was changed</p>
          <p>
            {changesIn(sync.counts) === 0
              ? 'A sync would change nothing.'
              : `A sync would bring ${changesInWords(sync.counts)}, as listed below.`}
          </p>
        </div>
        {mayRun && (
          <Button
            size="xs"
            loading={start.isPending}
            onClick={() => {
              start.run({ uploadId: sync.uploadId });
            }}
          >
            Sync this for good
          </Button>
        )}
      </div>
      {start.isError && <ErrorState error={start.error} />}
    </>
  );
}

/** The plan that waits or was tried, or what was applied. */
function Changes({ sync }: { sync: Schema['Sync'] }) {
  const { id: district } = useDistrict();
  const id = sync.syncId ?? '';
  const state = sync.state ?? 'SYNC_STATE_UNSPECIFIED';
  const applied = sync.revision ?? 0;
  const planned = state === 'ON_HOLD' || (state === 'COMPLETED' && sync.dryRun);
  if (!planned && applied === 0) return null;
  return (
    <section aria-labelledby="changes">
      <div className="section-head">
        <h2 id="changes">{planned ? 'What would change' : 'What was changed'}</h2>
        <Button
          component="a"
          variant="default"
          size="xs"
          href={downloads.syncChanges(district, id)}
          download
          leftSection={<IconDownload size={14} aria-hidden />}
        >
          Download these as CSV
        </Button>
      </div>
      <ChangesBrowser
        list={syncChanges(district, id, state)}
        before={planned ? 'newest' : applied - 1}
        after={planned ? undefined : applied}
      />
    </section>
  );
}

function Facts({ sync }: { sync: Schema['Sync'] }) {
  const { id: district, timeZone } = useDistrict();
  return (
    <dl className="facts card panel">
      <dt>Source</dt>
      <dd>
        <Link to={screens.source(district, sync.source ?? '')}>{sync.source}</Link>
      </dd>
      <dt>Result</dt>
      <dd>
        {sync.dryRun ? (
          'Trial run: nothing was changed'
        ) : sync.state === 'ON_HOLD' ? (
          'Nothing has been changed yet'
        ) : sync.revision ? (
          <Link to={screens.revision(district, sync.revision)}>
            Revision {formatNumber(sync.revision)}
          </Link>
        ) : sync.unchangedInput ? (
          'The source had nothing new'
        ) : (
          'No new revision'
        )}
      </dd>
      <dt>Ended</dt>
      <dd>
        {formatDateTime(sync.endTime, timeZone) ||
          (sync.state === 'ON_HOLD' ? 'Waits for a decision' : 'Still running')}
      </dd>
      <dt>Steps</dt>
      <dd>
        {(sync.steps ?? [])
          .map((step) =>
            [syncState(step.state).label, formatDuration(step.startTime, step.endTime)]
              .filter(Boolean)
              .join(' '),
          )
          .join(' · ')}
      </dd>
      <dt>Rows read</dt>
      <dd>{formatNumber(sync.rowsRead)}</dd>
    </dl>
  );
}

const allKinds = [
  { id: 'received', label: 'Received' },
  { id: 'created', label: 'Created' },
  { id: 'updated', label: 'Updated' },
  { id: 'removed', label: 'Removed' },
  { id: 'unchanged', label: 'Unchanged' },
  { id: 'rejected', label: 'Rejected' },
  { id: 'withheld', label: 'Left out' },
] as const;

function Counts({ counts }: { counts: Record<string, Schema['EntityCounts']> }) {
  const rows = entities.filter((entity) => counts[entity.id]);
  if (rows.length === 0) return null;
  const withheld = rows.some((entity) => counts[entity.id]?.withheld);
  const kinds = allKinds.filter((kind) => kind.id !== 'withheld' || withheld);
  return (
    <section aria-labelledby="counts">
      <h2 id="counts">Records</h2>
      <TableScroll label="Table of records by entity">
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Entity</th>
              <KindHeadings kinds={kinds} />
            </tr>
          </thead>
          <tbody>
            {rows.map((entity) => (
              <tr key={entity.id}>
                <th scope="row">{entity.label}</th>
                {kinds.map((kind) => (
                  <td key={kind.id} className="number">
                    {formatNumber(counts[entity.id]?.[kind.id])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </section>
  );
}

function SyncFindings({ sync }: { sync: string }) {
  const { id: district } = useDistrict();
  const trail = useTrail();
  const findings = useSyncFindings(district, sync, trail.token);
  if (findings.isPending) return <LoadingLines label="Loading findings" />;
  if (findings.isError) {
    return <ErrorState error={findings.error} onRetry={() => void findings.refetch()} />;
  }
  const rows = findings.data.findings ?? [];
  if (rows.length === 0) return <EmptyState title="No faults found" />;
  return (
    <>
      <TableScroll label="Table of faults">
        <table className="table" aria-busy={findings.isPlaceholderData}>
          <thead>
            <tr>
              <th scope="col">File</th>
              <th scope="col" className="number">
                Row
              </th>
              <th scope="col">Column</th>
              <th scope="col">Securly Internal ID</th>
              <th scope="col">Fault</th>
              <th scope="col">Effect</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row, index) => (
              // A finding has no id of its own, and a page of a finished sync never changes.
              <tr key={index}>
                <td>{row.file}</td>
                <td className="number">{row.row ? formatNumber(row.row) : ''}</td>
                <td>{row.column}</td>
                <td>{row.sourcedId}</td>
                <td className="reason">{sentence(row.message ?? '')}</td>
                <td>{effects[row.level ?? ''] ?? row.level}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      <Pager
        label="Pages of faults"
        paging={trail}
        pageSize={findingsPerPage}
        shown={rows.length}
        total={findings.data.totalSize ?? 0}
        busy={findings.isPlaceholderData}
        next={findings.data.nextPageToken}
      />
    </>
  );
}

const effects: Record<string, string> = {
  file: 'File not used',
  row: 'Row rejected',
  value: 'Value dropped',
  notice: 'Nothing lost',
};
