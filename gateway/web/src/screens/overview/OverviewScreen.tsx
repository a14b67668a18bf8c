import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useOverview, useSyncs } from '../../api/queries';
import { NothingConnected } from '../../components/NothingConnected';
import { Page } from '../../components/Page';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { Tag } from '../../components/Tag';
import { changesIn, changesInWords } from '../../lib/changes';
import { totals } from '../../lib/checks';
import { useDistrict } from '../../lib/district';
import { entities } from '../../lib/entities';
import { formatDateTime, formatDuration, formatNumber, plural, sentence } from '../../lib/format';
import { reportState, syncState } from '../../lib/states';
import { screens } from '../../lib/urls';
import { roleFamilies } from '../../lib/roles';
import { SyncsTable } from './SyncsTable';

export function OverviewScreen() {
  const { id: district } = useDistrict();
  const overview = useOverview(district);
  return (
    <Page
      title="Overview"
      intro="What Securly Sync holds for your district right now, and how it got there."
    >
      <NothingConnected />
      <Held />
      {overview.isPending ? (
        <LoadingLines label="Loading the overview" lines={8} />
      ) : overview.isError ? (
        <ErrorState error={overview.error} onRetry={() => void overview.refetch()} />
      ) : (
        <>
          <div className="columns">
            <LastSync sync={overview.data.lastSync} />
            <LastReport report={overview.data.lastReport} />
          </div>
          <Records roster={overview.data.roster} />
        </>
      )}
      <section aria-labelledby="recent-syncs">
        <h2 id="recent-syncs">Recent syncs</h2>
        <SyncsTable />
      </section>
    </Page>
  );
}

/** What waits for a person, above everything else. */
function Held() {
  const { id: district, timeZone } = useDistrict();
  const syncs = useSyncs(district, '', '');
  const held = syncs.data?.syncs?.filter((sync) => sync.state === 'ON_HOLD') ?? [];
  if (held.length === 0) return null;
  return (
    <div className="notice notice-warning">
      <div>
        <p className="notice-title">
          {held.length === 1 ? 'A sync waits' : 'Syncs wait'} for your decision
        </p>
        <ul>
          {held.map((sync) => (
            <li key={sync.syncId}>
              <Link to={screens.sync(district, sync.syncId ?? '')}>
                {sync.source}, {formatDateTime(sync.createTime, timeZone)}
              </Link>
              : {changesInWords(sync.counts)}
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}

function LastSync({ sync }: { sync: Schema['Sync'] | undefined }) {
  const { id: district, timeZone } = useDistrict();
  if (!sync?.syncId) {
    return (
      <section className="card panel" aria-labelledby="last-sync">
        <h2 id="last-sync">Last sync</h2>
        <p>Nothing has been synced yet.</p>
      </section>
    );
  }
  const state = syncState(sync.state);
  const changed = changesIn(sync.counts);
  return (
    <section className="card panel" aria-labelledby="last-sync">
      <h2 id="last-sync">Last sync</h2>
      <p className="panel-lead">
        <Tag tone={state.tone}>{state.label}</Tag>
        {formatDateTime(sync.endTime ?? sync.createTime, timeZone)}
      </p>
      {sync.error && <p>{sentence(sync.error)}</p>}
      <dl className="facts">
        <dt>Source</dt>
        <dd>{sync.source}</dd>
        <dt>Changes</dt>
        <dd>{plural(changed, 'record', 'records')}</dd>
        <dt>Findings</dt>
        <dd>{plural(sync.findingsCount ?? 0, 'row or value', 'rows or values')} with a fault</dd>
        {formatDuration(sync.createTime, sync.endTime) && (
          <>
            <dt>Took</dt>
            <dd>{formatDuration(sync.createTime, sync.endTime)}</dd>
          </>
        )}
      </dl>
      <Link to={screens.sync(district, sync.syncId)}>See the details of this sync</Link>
    </section>
  );
}

function LastReport({ report }: { report: Schema['ReadinessReport'] | undefined }) {
  const { id: district, timeZone } = useDistrict();
  if (!report?.reportId) {
    return (
      <section className="card panel" aria-labelledby="last-report">
        <h2 id="last-report">Data readiness</h2>
        <p>There is no readiness report yet.</p>
        <Link to={screens.readiness(district)}>Go to Data Readiness</Link>
      </section>
    );
  }
  const state = reportState(report);
  const sum = totals(report.checks ?? []);
  return (
    <section className="card panel" aria-labelledby="last-report">
      <h2 id="last-report">Data readiness</h2>
      <p className="panel-lead">
        <Tag tone={state.tone}>{state.label}</Tag>
        {formatDateTime(report.createTime, timeZone)}
      </p>
      {report.state === 'COMPLETED' && sum.checks > 0 && (
        <dl className="facts">
          <dt>To fix</dt>
          <dd>
            {sum.findings === 0
              ? 'Nothing: all checks passed'
              : `${plural(sum.findings, 'finding', 'findings')} in ${plural(sum.failing, 'check', 'checks')}`}
          </dd>
          <dt>No action needed</dt>
          <dd>{plural(sum.informational, 'finding', 'findings')}</dd>
        </dl>
      )}
      {report.error && <p>{sentence(report.error)}</p>}
      <Link to={screens.readiness(district, report.reportId)}>See this report</Link>
    </section>
  );
}

function Records({ roster }: { roster: Schema['Overview']['roster'] }) {
  const { id: district, timeZone } = useDistrict();
  if (roster.revision === 0) {
    return (
      <EmptyState title="No records yet">
        <p>They appear here as soon as the first sync has completed.</p>
      </EmptyState>
    );
  }
  return (
    <>
      <section aria-labelledby="records">
        <h2 id="records">Records</h2>
        <p className="soft">
          Revision {formatNumber(roster.revision)}, saved{' '}
          {formatDateTime(roster.commitTime, timeZone)}
        </p>
        <ul className="tiles">
          {entities.map((entity) => {
            const active = roster.active[entity.id] ?? 0;
            const removed = (roster.total[entity.id] ?? active) - active;
            return (
              <li key={entity.id} className="card tile">
                <Link to={screens.records(district, entity.id, { status: 'active' })}>
                  <span className="tile-name">{entity.label}</span>
                  <span className="tile-figure">{formatNumber(active)}</span>
                </Link>
                {removed > 0 && (
                  <Link
                    className="tile-note"
                    to={screens.records(district, entity.id, { status: 'tobedeleted' })}
                  >
                    {formatNumber(removed)} removed
                    <span className="visually-hidden"> {entity.label}</span>
                  </Link>
                )}
              </li>
            );
          })}
        </ul>
      </section>
      <section aria-labelledby="roles">
        <h2 id="roles">Users by role</h2>
        <ul className="tiles">
          {roleFamilies
            .filter((family) => family.id in roster.usersByRole)
            .map((family) => (
              <li key={family.id} className="card tile">
                <Link
                  to={screens.records(district, 'users', { role: family.id, status: 'active' })}
                >
                  <span className="tile-name">{family.label}</span>
                  <span className="tile-figure">{formatNumber(roster.usersByRole[family.id])}</span>
                </Link>
              </li>
            ))}
        </ul>
      </section>
    </>
  );
}
