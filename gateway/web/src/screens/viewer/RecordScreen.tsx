import { Link, useParams, useSearchParams } from 'react-router';
import { ApiError } from '../../api/client';
import { useHistory, useRecord } from '../../api/queries';
import { Page } from '../../components/Page';
import { FieldValue } from '../../components/FieldValue';
import { useAsOf } from '../../components/RecordLink';
import { EmptyState, ErrorState, Loading, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { useDistrict } from '../../lib/district';
import { type Entity, entityInfo, isEntity, recordName } from '../../lib/entities';
import { formatDateTime, formatNumber } from '../../lib/format';
import { screens } from '../../lib/urls';
import { CorrectByHand } from '../entries/CorrectByHand';
import { NotFoundScreen } from '../Fallbacks';
import { columnsFor } from './columns';
import { Explanation } from './Explanation';
import { RawData } from './RawData';
import { Related } from './Related';

/** One record: where every link with an id leads. */
export function RecordScreen() {
  const { entity } = useParams();
  const [parameters] = useSearchParams();
  const id = parameters.get('id') ?? '';
  if (!isEntity(entity) || !id) return <NotFoundScreen />;
  return <RecordOfEntity key={`${entity} ${id}`} entity={entity} id={id} />;
}

function RecordOfEntity({ entity, id }: { entity: Entity; id: string }) {
  const { id: district } = useDistrict();
  const asOf = useAsOf();
  const answer = useRecord(district, entity, id, asOf);
  const info = entityInfo(entity);
  const record = answer.data?.record;
  const missing = answer.error instanceof ApiError && answer.error.status === 404;

  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.viewer(district)}>Data Viewer</Link> ›{' '}
        <Link to={screens.records(district, entity)}>{info?.label}</Link>
      </nav>
      {answer.isPending ? (
        <Loading label="Loading the record" />
      ) : missing ? (
        <Page title="No data found">
          <EmptyState title={`${info?.one ?? 'Record'} ${id} is not in this district’s data`}>
            <p>
              {asOf ? (
                <>
                  It was not there at {/^\d+$/.test(asOf) ? `revision ${asOf}` : asOf}.{' '}
                  <Link to={screens.record(district, entity, id)}>Look at the newest data</Link>
                </>
              ) : (
                'Another record refers to it, and your student information system has not delivered it.'
              )}
            </p>
          </EmptyState>
          {!asOf && <Explanation entity={entity} id={id} missing />}
        </Page>
      ) : answer.isError ? (
        <ErrorState error={answer.error} onRetry={() => void answer.refetch()} />
      ) : record ? (
        <Page
          title={recordName(entity, record) || id}
          actions={!asOf && <CorrectByHand entity={entity} id={id} />}
          intro={`${info?.one ?? ''} at revision ${formatNumber(answer.data.revision)}, unchanged since revision ${formatNumber(answer.data.fromRevision)}`}
        >
          {asOf && (
            <div className="notice notice-warning">
              <div>
                <p className="notice-title">
                  The record as of revision {formatNumber(answer.data.revision)}
                </p>
                <p>
                  It may have changed since.{' '}
                  <Link to={screens.record(district, entity, id)}>Show the newest</Link>
                </p>
              </div>
            </div>
          )}
          <div className="columns">
            <div className="card panel">
              <dl className="facts">
                {columnsFor(entity).map((column) => (
                  <div key={column.id}>
                    <dt>{column.header}</dt>
                    <dd>{column.id === 'sourcedId' ? id : column.cell(record)}</dd>
                  </div>
                ))}
              </dl>
              <Related entity={entity} record={record} />
            </div>
            <RawData record={record} />
          </div>
          {!asOf && <Explanation entity={entity} id={id} />}
          <section aria-labelledby="history">
            <h2 id="history">History</h2>
            <History entity={entity} id={id} />
          </section>
        </Page>
      ) : (
        <ErrorState error={new ApiError(0, { message: 'The server sent an empty record.' })} />
      )}
    </>
  );
}

function History({ entity, id }: { entity: Entity; id: string }) {
  const { id: district, timeZone } = useDistrict();
  const history = useHistory(district, entity, id);
  if (history.isPending) return <LoadingLines label="Loading the history" />;
  if (history.isError) {
    return <ErrorState error={history.error} onRetry={() => void history.refetch()} />;
  }
  const versions = history.data.versions ?? [];
  return (
    <TableScroll label="History of this record">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">Saved</th>
            <th scope="col" className="number">
              Revision
            </th>
            <th scope="col">Change</th>
          </tr>
        </thead>
        <tbody>
          {versions.map((version, index) => (
            <tr key={version.fromRevision}>
              <td>{formatDateTime(version.commitTime, timeZone)}</td>
              <td className="number">
                <Link to={screens.revision(district, version.fromRevision ?? 0)}>
                  {formatNumber(version.fromRevision)}
                </Link>
              </td>
              <td className="reason">
                {version.fields?.length ? (
                  <ul className="changes">
                    {version.fields.map((field) => (
                      <li key={field.field}>
                        <strong>{field.field}</strong>: <FieldValue json={field.before} /> →{' '}
                        <FieldValue json={field.after} />
                      </li>
                    ))}
                  </ul>
                ) : index === versions.length - 1 ? (
                  'First version'
                ) : (
                  'No field differs'
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableScroll>
  );
}
