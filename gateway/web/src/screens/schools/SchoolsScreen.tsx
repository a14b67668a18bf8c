import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useLimited } from '../../api/queries';
import { schoolsPerPage, useSchools } from '../../api/schools';
import { Page } from '../../components/Page';
import { Pager, useTrail } from '../../components/Pager';
import { OrgLink } from '../../components/RecordLink';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { Tag } from '../../components/Tag';
import { useDistrict } from '../../lib/district';
import { formatNumber, localTimes, sentence } from '../../lib/format';
import { standing } from '../../lib/states';
import { screens } from '../../lib/urls';

/** Every school with how its data comes in; who is limited to schools sees these. */
export function SchoolsScreen() {
  const limited = useLimited();
  return (
    <Page
      title={limited ? 'Your schools' : 'Schools'}
      intro={
        limited
          ? 'How the data of your schools comes in, and what there is to fix.'
          : 'How the data of each school comes in, and what there is to fix. What needs action is first.'
      }
    >
      <Schools limited={limited} />
    </Page>
  );
}

function Schools({ limited }: { limited: boolean }) {
  const { id: district } = useDistrict();
  const trail = useTrail();
  const schools = useSchools(district, trail.token);
  if (schools.isPending) return <LoadingLines label="Loading schools" lines={8} />;
  if (schools.isError) {
    return <ErrorState error={schools.error} onRetry={() => void schools.refetch()} />;
  }
  const { schools: rows = [], sources = [], report, totalSize = 0, nextPageToken } = schools.data;
  const reportPath = screens.readiness(district, report?.split('/').at(-1));
  return (
    <>
      <Sources sources={sources} />
      {rows.length === 0 ? (
        <EmptyState title="No schools yet">
          <p>
            {report
              ? 'The data of your district has no active school.'
              : 'They appear after the first sync, when its readiness report is there.'}
          </p>
        </EmptyState>
      ) : (
        <>
          <TableScroll label="Table of schools">
            <table className="table" aria-busy={schools.isPlaceholderData}>
              <thead>
                <tr>
                  <th scope="col">School</th>
                  <th scope="col">Status</th>
                  <th scope="col" className="number">
                    Teachers
                  </th>
                  <th scope="col" className="number">
                    Students
                  </th>
                  <th scope="col" className="number">
                    Errors
                  </th>
                  <th scope="col" className="number">
                    Alerts
                  </th>
                </tr>
              </thead>
              <tbody>
                {rows.map((school) => (
                  <tr
                    key={school.schoolId}
                    className={school.status?.state === 'SETUP' ? 'soft' : undefined}
                  >
                    <th scope="row">
                      <OrgLink id={school.schoolId} />
                    </th>
                    <td>
                      <Status status={school.status} linked={!limited} />
                    </td>
                    <td className="number">{formatNumber(school.teachers)}</td>
                    <td className="number">{formatNumber(school.students)}</td>
                    <td className="number">
                      <Findings count={school.errors} tone="bad" />
                    </td>
                    <td className="number">
                      <Findings count={school.alerts} tone="warning" />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </TableScroll>
          <Pager
            label="Pages of schools"
            paging={trail}
            next={nextPageToken}
            pageSize={schoolsPerPage}
            shown={rows.length}
            total={totalSize}
            busy={schools.isPlaceholderData}
          />
          <p className="soft">
            Errors mean that an account or a class will be missing or wrong; alerts are worth
            fixing.{' '}
            {!limited && <Link to={reportPath}>See what they are in the readiness report</Link>}
          </p>
        </>
      )}
    </>
  );
}

function Findings({ count = 0, tone }: { count: number | undefined; tone: 'bad' | 'warning' }) {
  return count > 0 ? <Tag tone={tone}>{formatNumber(count)}</Tag> : <>0</>;
}

/** Sources that need action; they concern every school. */
function Sources({ sources }: { sources: Schema['SourceStatus'][] }) {
  const { id: district } = useDistrict();
  const troubled = sources.filter(({ status }) => status?.reason);
  if (troubled.length === 0) return null;
  return (
    <div className="notice notice-neutral">
      <div>
        <p className="notice-title">Sources</p>
        <ul className="plain stack">
          {troubled.map(({ sourceId = '', displayName, status }) => (
            <li key={sourceId}>
              <Link to={screens.source(district, sourceId)}>{displayName || sourceId}</Link>:{' '}
              <Status status={status} linked />
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}

function Status({ status, linked }: { status: Schema['SyncStatus'] | undefined; linked: boolean }) {
  const { id: district, timeZone } = useDistrict();
  const { label, tone } = standing(status?.state);
  return (
    <>
      <Tag tone={tone}>{label}</Tag>{' '}
      {status?.reason && (
        <span className="table-note">{sentence(localTimes(status.reason, timeZone))}</span>
      )}
      {linked && status?.syncId && (
        <Link className="table-note" to={screens.sync(district, status.syncId)}>
          {status.state === 'ON_HOLD' ? 'Look at it and decide' : 'See this sync'}
        </Link>
      )}
    </>
  );
}
