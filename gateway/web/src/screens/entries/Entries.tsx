import { Button } from '@mantine/core';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useDeleteEntry, useEntries } from '../../api/entries';
import { useMay } from '../../api/queries';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { useDistrict } from '../../lib/district';
import { entityInfo, recordName } from '../../lib/entities';
import { additions, type Addition, enteredFields, entryRecord } from '../../lib/entries';
import { formatDateTime, plural } from '../../lib/format';
import { screens } from '../../lib/urls';
import { useRunSync } from '../sources/useRunSync';

/** What is entered by hand in a source, and the way from it into the roster. */
export function Entries({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const entries = useEntries(district, id);
  const remove = useDeleteEntry(district, id);
  const mayWrite = useMay('sources.write') && !source.stopped;
  return (
    <section aria-labelledby="entries">
      <h2 id="entries">What is entered</h2>
      <p className="soft">
        Add who or what no source delivers. To correct a record that one delivers, find it in the{' '}
        <Link to={screens.viewer(district)}>Data Viewer</Link>. Nothing changes in the roster before
        it is applied.
      </p>
      {mayWrite && (
        <div className="decision-actions entry-additions">
          {(Object.keys(additions) as Addition[]).map((add) => (
            <Button
              key={add}
              component={Link}
              variant="default"
              to={screens.entry(district, id, { add })}
            >
              {additions[add].title}
            </Button>
          ))}
          <Button
            component={Link}
            variant="default"
            to={screens.entry(district, id, { add: 'members' })}
          >
            Put people into a class
          </Button>
        </div>
      )}
      {remove.isError && <ErrorState error={remove.error} />}
      {entries.isPending ? (
        <LoadingLines label="Loading what is entered" />
      ) : entries.isError ? (
        <ErrorState error={entries.error} onRetry={() => void entries.refetch()} />
      ) : entries.data.length === 0 ? (
        <EmptyState title="Nothing is entered yet" />
      ) : (
        <TableScroll label="Table of entries">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Record</th>
                <th scope="col">What</th>
                <th scope="col">Entered</th>
                <th scope="col">Last changed</th>
                {mayWrite && (
                  <th scope="col">
                    <span className="visually-hidden">Actions</span>
                  </th>
                )}
              </tr>
            </thead>
            <tbody>
              {entries.data.map((entry) => (
                <Row
                  key={`${entryRecord(entry)?.entity ?? ''} ${entryRecord(entry)?.record.sourcedId ?? ''}`}
                  source={id}
                  entry={entry}
                  busy={remove.isPending}
                  onDelete={mayWrite ? remove.mutate : undefined}
                />
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
      {entries.isSuccess && <Apply source={source} count={entries.data.length} />}
    </section>
  );
}

interface RowProps {
  source: string;
  entry: Schema['ManualEntry'];
  busy: boolean;
  onDelete: ((of: { entity: string; sourcedId: string }) => void) | undefined;
}

function Row({ source, entry, busy, onDelete }: RowProps) {
  const { id: district, timeZone } = useDistrict();
  const entered = entryRecord(entry);
  if (!entered) return null;
  const { entity, record } = entered;
  const sourcedId = record.sourcedId ?? '';
  const { user, class: of }: Schema['Enrollment'] = record;
  const name =
    entity === 'enrollments' && user && of
      ? `${user.sourcedId ?? ''} in ${of.sourcedId ?? ''}`
      : recordName(entity, record) || sourcedId;
  const yields = entry.sourceWins ?? [];
  return (
    <tr>
      <th scope="row">
        {name}
        {name !== sourcedId && <span className="soft table-note">{sourcedId}</span>}
      </th>
      <td>
        {entityInfo(entity)?.one}, {entry.correction ? 'corrected' : 'added'}
      </td>
      <td>
        {enteredFields(entity, record).join(', ')}
        {yields.length > 0 && (
          <span className="soft table-note">
            {plural(yields.length, 'field', 'fields')} only where no source has a value
          </span>
        )}
      </td>
      <td className="when">
        {formatDateTime(entry.updateTime, timeZone)}
        <span className="soft table-note">{entry.updatedBy}</span>
      </td>
      {onDelete && (
        <td className="row-actions entry-actions">
          <Button
            component={Link}
            variant="default"
            size="xs"
            to={screens.entry(district, source, { entity, id: sourcedId })}
          >
            Change<span className="visually-hidden"> {name}</span>
          </Button>
          <Button
            variant="default"
            size="xs"
            disabled={busy}
            onClick={() => {
              onDelete({ entity, sourcedId });
            }}
          >
            Delete<span className="visually-hidden"> {name}</span>
          </Button>
        </td>
      )}
    </tr>
  );
}

/** Plans what was entered, on trial or for good; the page of the sync shows the plan. */
function Apply({ source, count }: { source: Schema['Source']; count: number }) {
  const sync = useRunSync(source.sourceId ?? '');
  const blocked = Boolean(source.pause ?? source.stopped);
  if (!useMay('syncs.run') || (count === 0 && !source.lastSync)) return null;
  return (
    <div className="card panel entry-apply">
      <h3>Bring it into the roster</h3>
      <p className="soft">
        The preview shows record by record what would change. What would change too much waits for a
        decision, as with any sync. Taking an entry back needs this, too.
      </p>
      {sync.isError && <ErrorState error={sync.error} />}
      <div className="decision-actions">
        <Button
          variant="default"
          disabled={sync.isPending || blocked}
          onClick={() => {
            sync.run({ dryRun: true });
          }}
        >
          Preview
        </Button>
        <Button
          disabled={sync.isPending || blocked}
          onClick={() => {
            sync.run({});
          }}
        >
          Apply
        </Button>
        {blocked && (
          <span className="soft">The source is {source.pause ? 'paused' : 'stopped'}.</span>
        )}
      </div>
    </div>
  );
}
