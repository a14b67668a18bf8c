import { NativeSelect } from '@mantine/core';
import { useSearchParams } from 'react-router';
import type { Schema } from '../api/client';
import { type ChangeFilter, type ChangeList, changesPerPage, useChanges } from '../api/revisions';
import { changeKinds } from '../lib/changes';
import { entities, entityInfo, isEntity } from '../lib/entities';
import { formatNumber } from '../lib/format';
import { FieldValue } from './FieldValue';
import { Pager, useTrail } from './Pager';
import { RecordLink } from './RecordLink';
import { EmptyState, ErrorState, LoadingLines } from './States';
import { TableScroll } from './TableScroll';
import { Tag } from './Tag';

interface ChangesBrowserProps {
  list: ChangeList;
  /** Where a record can be looked at as it was before the change, and as it is after it. */
  before?: number | 'newest';
  after?: number;
}

/** Changes with field-level before and after; the address holds the filter. */
export function ChangesBrowser(props: ChangesBrowserProps) {
  const [parameters, setParameters] = useSearchParams();
  const filter: ChangeFilter = {
    entity: parameters.get('entity') ?? '',
    kind: parameters.get('kind') ?? '',
  };
  const choose = (name: keyof ChangeFilter, value: string) => {
    setParameters(
      (current) => {
        current.delete(name);
        if (value) current.set(name, value);
        return current;
      },
      { replace: true },
    );
  };
  return (
    <>
      <div className="filters">
        <NativeSelect
          label="Entity"
          value={filter.entity}
          onChange={(event) => {
            choose('entity', event.currentTarget.value);
          }}
        >
          <option value="">All entities</option>
          {entities.map(({ id, label }) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </NativeSelect>
        <NativeSelect
          label="Kind of change"
          value={filter.kind}
          onChange={(event) => {
            choose('kind', event.currentTarget.value);
          }}
        >
          <option value="">All kinds</option>
          {changeKinds.map(({ id, label }) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </NativeSelect>
      </div>
      <ChangesTable {...props} key={JSON.stringify([props.list.key, filter])} filter={filter} />
    </>
  );
}

function ChangesTable({
  list,
  before,
  after,
  filter,
}: ChangesBrowserProps & { filter: ChangeFilter }) {
  const trail = useTrail();
  const changes = useChanges(list, filter, trail.token);
  if (changes.isPending) return <LoadingLines label="Loading changes" />;
  if (changes.isError) {
    return <ErrorState error={changes.error} onRetry={() => void changes.refetch()} />;
  }
  const rows = changes.data.changes ?? [];
  if (rows.length === 0) {
    return (
      <EmptyState title={filter.entity || filter.kind ? 'No such changes' : 'No changes'}>
        {(filter.entity || filter.kind) && <p>Choose another entity or kind of change.</p>}
      </EmptyState>
    );
  }
  return (
    <>
      <TableScroll label="Table of changes">
        <table className="table" aria-busy={changes.isPlaceholderData}>
          <thead>
            <tr>
              <th scope="col">Record</th>
              <th scope="col">Change</th>
              <th scope="col">Fields</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((change) => {
              // What was removed is of interest as it was.
              const asOf =
                change.kind === 'removed' || (change.kind === 'updated' && after === undefined)
                  ? before
                  : after;
              return (
                <tr key={`${change.entity ?? ''} ${change.sourcedId ?? ''}`}>
                  <td className="change-id">
                    <span className="soft">{entityInfo(change.entity)?.one ?? change.entity}</span>{' '}
                    {asOf !== undefined && isEntity(change.entity) ? (
                      <RecordLink
                        entity={change.entity}
                        id={change.sourcedId}
                        asOf={String(asOf)}
                      />
                    ) : (
                      change.sourcedId
                    )}
                  </td>
                  <td>
                    <KindTag kind={change.kind} />
                  </td>
                  <td className="reason">
                    <Fields change={change} />
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </TableScroll>
      <Pager
        label="Pages of changes"
        paging={trail}
        pageSize={changesPerPage}
        shown={rows.length}
        total={changes.data.totalSize ?? 0}
        busy={changes.isPlaceholderData}
        next={changes.data.nextPageToken}
      />
    </>
  );
}

function KindTag({ kind }: { kind: string | undefined }) {
  const known = changeKinds.find(({ id }) => id === kind);
  return <Tag tone={known?.tone ?? 'neutral'}>{known?.label ?? kind ?? ''}</Tag>;
}

const fieldsShown = 4;

function Fields({ change }: { change: Schema['Change'] }) {
  const fields = change.fields ?? [];
  const lines = (some: Schema['FieldChange'][]) => (
    <ul className="changes">
      {some.map((field) => (
        <li key={field.field}>
          <strong>{field.field}</strong>:{' '}
          {change.kind === 'created' ? (
            <FieldValue json={field.after} />
          ) : (
            <>
              <FieldValue json={field.before} /> → <FieldValue json={field.after} />
            </>
          )}
        </li>
      ))}
    </ul>
  );
  // A last line alone is not worth a click.
  if (fields.length <= fieldsShown + 1) return lines(fields);
  return (
    <>
      {lines(fields.slice(0, fieldsShown))}
      <details className="more">
        <summary>{formatNumber(fields.length - fieldsShown)} more fields</summary>
        {lines(fields.slice(fieldsShown))}
      </details>
    </>
  );
}
