import { Link, useNavigate, useParams, useSearchParams } from 'react-router';
import { ApiError, type Schema } from '../../api/client';
import { useEntry, usePutEntry } from '../../api/entries';
import { useMay, useRecord } from '../../api/queries';
import { Page } from '../../components/Page';
import { EmptyState, ErrorState, Loading } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { type AnyRecord, type Entity, entityInfo, isEntity, recordName } from '../../lib/entities';
import { type Addition, additionOf, additions, entryRecord } from '../../lib/entries';
import { screens } from '../../lib/urls';
import { NotFoundScreen } from '../Fallbacks';
import { AddForm } from './AddForm';
import { CorrectForm } from './CorrectForm';
import { MembersForm } from './MembersForm';

/** One entry by hand: an addition, a correction, or one of them that is there and changes. */
export function EntryScreen() {
  const { id: district } = useDistrict();
  const { source = '' } = useParams();
  const [parameters] = useSearchParams();
  const add = parameters.get('add') ?? '';
  const entity = parameters.get('entity') ?? undefined;
  const id = parameters.get('id') ?? '';
  const mayWrite = useMay('sources.write');
  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.sources(district)}>Sources</Link> ›{' '}
        <Link to={screens.source(district, source)}>{source}</Link>
      </nav>
      {!mayWrite ? (
        <Page title="Entered by hand">
          <EmptyState title="Your account may not enter records" />
        </Page>
      ) : add === 'members' ? (
        <Page
          title="Put people into a class"
          intro="For what no source delivers. It becomes part of the roster when you apply it."
        >
          <MembersForm source={source} />
        </Page>
      ) : add in additions ? (
        <Add key={add} source={source} add={add as Addition} />
      ) : isEntity(entity) && id ? (
        <Existing key={`${entity} ${id}`} source={source} entity={entity} id={id} />
      ) : (
        <NotFoundScreen />
      )}
    </>
  );
}

/** Writes an entry, and then shows the list that it is in. */
export function useSaveEntry(source: string) {
  const { id: district } = useDistrict();
  const navigate = useNavigate();
  const put = usePutEntry(district, source);
  return {
    isPending: put.isPending,
    error: put.error,
    save: (entry: Schema['ManualEntry']) => {
      put.mutate(entry, {
        onSuccess: () => {
          void navigate(screens.source(district, source));
        },
      });
    },
  };
}

function Add({ source, add }: { source: string; add: Addition }) {
  return (
    <Page
      title={additions[add].title}
      intro="For what no source delivers. It becomes part of the roster when you apply it."
    >
      <AddForm source={source} add={add} />
    </Page>
  );
}

interface ExistingProps {
  source: string;
  entity: Entity;
  id: string;
}

/** The entry of a record; without one, a correction of the record that the roster has. */
function Existing({ source, entity, id }: ExistingProps) {
  const { id: district } = useDistrict();
  const entry = useEntry(district, source, entity, id);
  const stored = useRecord(district, entity, id, undefined);
  const missing = stored.error instanceof ApiError && stored.error.status === 404;
  if (entry.isPending || stored.isPending) return <Loading label="Loading the entry" />;
  const failed = entry.error ?? (missing ? null : stored.error);
  if (failed) {
    return (
      <ErrorState
        error={failed}
        onRetry={() => {
          void entry.refetch();
          void stored.refetch();
        }}
      />
    );
  }
  const entered = entry.data ? entryRecord(entry.data)?.record : undefined;
  const record: AnyRecord | undefined = stored.data?.record ?? entered;
  const name = (record && recordName(entity, record)) || id;
  const add = entry.data ? additionOf(entry.data) : undefined;
  const what = entityInfo(entity)?.one ?? '';
  return entry.data && !entry.data.correction ? (
    <Page title={`Change ${name}`} intro={`${what} ${id}, added by hand`}>
      {add ? (
        <AddForm source={source} add={add} entry={entry.data} />
      ) : (
        <CorrectForm source={source} entity={entity} id={id} entry={entry.data} />
      )}
    </Page>
  ) : (
    <Page
      title={`Correct ${name}`}
      intro={`${what} ${id}. What you enter here counts instead of what the source delivers, with every sync.`}
    >
      {missing && (
        <div className="notice notice-warning">
          <div>
            <p className="notice-title">The roster has no such record now</p>
            <p>The correction does nothing until a source delivers it.</p>
          </div>
        </div>
      )}
      <CorrectForm
        source={source}
        entity={entity}
        id={id}
        entry={entry.data ?? undefined}
        stored={stored.data?.record}
      />
    </Page>
  );
}
