import { Button } from '@mantine/core';
import type { ReactNode } from 'react';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useMay, useSync } from '../../api/queries';
import { useResume } from '../../api/sources';
import { ErrorState } from '../../components/States';
import { SyncProgress } from '../../components/SyncProgress';
import { useDistrict } from '../../lib/district';
import { formatDateTime, localTimes, sentence } from '../../lib/format';
import { scheduleInWords } from '../../lib/schedule';
import { syncState } from '../../lib/states';
import { screens } from '../../lib/urls';
import { SyncsTable } from '../overview/SyncsTable';
import { DropAccount } from './DropAccount';
import { PauseForm } from './PauseForm';
import type { SourceProps } from './SourceScreen';
import { LastSync } from './SourcesScreen';
import { Try } from './Try';

interface StandingProps extends SourceProps {
  lastSync: Schema['Sync'] | undefined;
}

/** How a source is doing, and what can be done with it right now. */
export function Standing({ source, connector, lastSync }: StandingProps) {
  const mayChange = useMay('sources.write');
  const mayRun = useMay('syncs.run');
  return (
    <>
      <Stopped source={source} />
      <Paused source={source} />
      <Trouble source={source} lastSync={lastSync} />
      <div className="columns">
        <section className="card panel" aria-labelledby="standing">
          <h2 id="standing">At a glance</h2>
          <Facts source={source} connector={connector} />
        </section>
        {(mayChange || mayRun) && !source.stopped && connector.kind !== 'manual' && (
          // Another setting is another connection: what was found out is of the one before.
          <Try key={source.etag} source={source} connector={connector} />
        )}
      </div>
      {source.drop && !source.stopped && <DropAccount source={source} drop={source.drop} />}
      {source.lastSync && (
        <section aria-labelledby="syncs">
          <h2 id="syncs">Syncs of this source</h2>
          <SyncsTable source={source.sourceId} />
        </section>
      )}
      {mayChange && !source.pause && !source.stopped && (
        <PauseForm source={source.sourceId ?? ''} />
      )}
    </>
  );
}

function Facts({ source, connector }: SourceProps) {
  const { timeZone } = useDistrict();
  const { schedule, lastScheduledRun: run } = source;
  const time = (at: string | undefined) => formatDateTime(at, timeZone);
  return (
    <dl className="facts">
      <dt>Last sync</dt>
      <dd>{source.lastSync ? <LastSync sync={source.lastSync} /> : 'None yet'}</dd>
      <dt>Last new data</dt>
      <dd>{time(source.lastInputTime) || 'None yet'}</dd>
      <dt>Syncs by itself</dt>
      <dd>
        {schedule
          ? scheduleInWords(schedule)
          : connector.kind === 'drop'
            ? 'When files have arrived'
            : 'No, only by hand'}
      </dd>
      {schedule && (
        <>
          <dt>Next sync</dt>
          <dd>{time(source.nextRunTime) || (source.pause ? 'Not while it is paused' : 'None')}</dd>
        </>
      )}
      {run && (
        <>
          <dt>Last time it was due</dt>
          <dd>
            {time(run.time)}: {run.sync ? <LastSync sync={run.sync} /> : 'skipped'}
            {run.skipped && `, ${localTimes(run.skipped, timeZone)}`}
          </dd>
        </>
      )}
    </dl>
  );
}

function Notice({
  tone,
  title,
  children,
  action,
}: {
  tone: 'neutral' | 'warning' | 'bad';
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className={`notice notice-${tone}`}>
      <div>
        <p className="notice-title">{title}</p>
        {children}
      </div>
      {action}
    </div>
  );
}

function Stopped({ source }: { source: Schema['Source'] }) {
  const { id: district, timeZone } = useDistrict();
  if (!source.stopped) return null;
  const { removal, time } = source.stopped;
  return removal ? (
    <Notice tone="warning" title="This source is being removed">
      <p>
        <Link to={screens.sync(district, removal)}>See what would be removed, and decide</Link>. If
        that is discarded, the source is as it was before.
      </p>
    </Notice>
  ) : (
    <Notice
      tone="neutral"
      title={`Stopped since ${formatDateTime(time, timeZone)}`}
      action={<Resume source={source.sourceId ?? ''} label="Start it again" />}
    >
      <p>
        Its records stay as they are. Its passwords and keys were forgotten: enter them again in the
        settings when you start it.
      </p>
    </Notice>
  );
}

function Resume({ source, label }: { source: string; label: string }) {
  const { id: district } = useDistrict();
  const resume = useResume(district, source);
  if (!useMay('sources.write')) return null;
  return (
    <>
      <Button
        variant="default"
        size="xs"
        loading={resume.isPending}
        onClick={() => {
          resume.mutate();
        }}
      >
        {label}
      </Button>
      {resume.isError && <ErrorState error={resume.error} />}
    </>
  );
}

function Paused({ source }: { source: Schema['Source'] }) {
  const { timeZone } = useDistrict();
  const { pause } = source;
  if (!pause) return null;
  return (
    <Notice
      tone="neutral"
      title={
        pause.until
          ? `Paused until ${formatDateTime(pause.until, timeZone)}`
          : 'Paused until somebody resumes it'
      }
      action={<Resume source={source.sourceId ?? ''} label="Resume now" />}
    >
      {pause.message && <p>“{pause.message}”</p>}
      <p>
        {pause.byOperator && 'An operator of Securly Sync has paused it. '}
        Since {formatDateTime(pause.startTime, timeZone)} no sync of this source starts. What it has
        brought before stays as it is.
      </p>
    </Notice>
  );
}

/** What is wrong with a source, or under way. */
function Trouble({ source, lastSync }: Omit<StandingProps, 'connector'>) {
  const { id: district, timeZone } = useDistrict();
  const { dataUpdatedAt } = useSync(district, source.lastSync ?? '');
  const toSync = (text: string) => (
    <Link to={screens.sync(district, lastSync?.syncId ?? '')}>{text}</Link>
  );
  const stale = source.staleSince && (
    <Notice
      tone="warning"
      title={`Nothing new since ${formatDateTime(source.lastInputTime ?? source.createTime, timeZone)}`}
    >
      <p>
        This source counts as stale since {formatDateTime(source.staleSince, timeZone)}. Look
        whether the export in your student information system still runs, and whether its files
        arrive.
      </p>
    </Notice>
  );
  return (
    <>
      {stale}
      {lastSync?.errorReason === 'SFTP_HOST_KEY_CHANGED' ? (
        <Notice tone="bad" title="The server identifies itself by another key than before">
          <p>
            Either the server was set up anew, or something else answers in its place. Nothing was
            fetched, and your sign-in was not sent. Ask the operator of the server, then test the
            connection: it shows the new fingerprint, and you decide.
          </p>
        </Notice>
      ) : lastSync?.state === 'FAILED' ? (
        <Notice tone="bad" title="The last sync failed">
          <p>{sentence(localTimes(lastSync.error ?? '', timeZone))}</p>
          <p>{toSync('See this sync')}</p>
        </Notice>
      ) : lastSync?.state === 'ON_HOLD' ? (
        <Notice tone="warning" title="A sync waits for a decision">
          <p>{toSync('Look at it and decide')}</p>
        </Notice>
      ) : (
        lastSync &&
        !syncState(lastSync.state).final && (
          <Notice tone="neutral" title={`A sync is under way: ${syncState(lastSync.state).label}`}>
            {lastSync.waitingFor && <p>{sentence(lastSync.waitingFor)}</p>}
            <SyncProgress sync={lastSync} at={dataUpdatedAt} />
            <p>{toSync('Follow it')}</p>
          </Notice>
        )
      )}
    </>
  );
}
