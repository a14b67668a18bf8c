import { Link, NavLink, useParams } from 'react-router';
import { ApiError, type Schema } from '../../api/client';
import { useMay, useSync } from '../../api/queries';
import { useConnectors, useSource, useUpdateSource } from '../../api/sources';
import { Page } from '../../components/Page';
import { EmptyState, ErrorState, Loading } from '../../components/States';
import { Tag } from '../../components/Tag';
import { useDistrict } from '../../lib/district';
import { valuesFrom } from '../../lib/schema';
import { sourceStatus } from '../../lib/sources';
import { screens } from '../../lib/urls';
import { Entries } from '../entries/Entries';
import { NotFoundScreen } from '../Fallbacks';
import { MappingForm } from '../mapping/MappingForm';
import { MappingMissing } from '../mapping/MappingMissing';
import { GuardianForm } from './GuardianForm';
import { HoldPolicyForm } from './HoldPolicyForm';
import { Packages } from './Packages';
import { Removal } from './Removal';
import { ScheduleForm } from './ScheduleForm';
import { SharingForm } from './SharingForm';
import { SourceForm } from './SourceForm';
import { Standing } from './Standing';

export interface SourceProps {
  source: Schema['Source'];
  connector: Schema['Connector'];
}

/** What a source has pages for; the first is where its links lead. */
const allParts = [
  { id: '', label: 'Status' },
  { id: 'schedule', label: 'Schedule' },
  { id: 'guardians', label: 'Guardian file' },
  { id: 'mapping', label: 'Mapping' },
  { id: 'sharing', label: 'What is shared' },
  { id: 'packages', label: 'Packages' },
  { id: 'holds', label: 'What waits' },
  { id: 'settings', label: 'Settings' },
];

export function SourceScreen() {
  const { id: district } = useDistrict();
  const { source: id = '' } = useParams();
  const source = useSource(district, id);
  const catalogue = useConnectors();
  const failed = source.error ?? catalogue.error;
  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.sources(district)}>Sources</Link>
      </nav>
      {source.error instanceof ApiError && source.error.status === 404 ? (
        <Page title="No such source">
          <EmptyState title={`There is no source ${id}`}>
            <p>It may have been removed. The history shows what that changed.</p>
          </EmptyState>
        </Page>
      ) : failed ? (
        <ErrorState
          error={failed}
          onRetry={() => {
            void source.refetch();
            void catalogue.refetch();
          }}
        />
      ) : source.data && catalogue.data ? (
        <Source
          source={source.data}
          connector={
            catalogue.data.connectors?.find((c) => c.connectorId === source.data.connector) ?? {}
          }
        />
      ) : (
        <Loading label="Loading the source" />
      )}
    </>
  );
}

function Source({ source, connector }: SourceProps) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const name = source.displayName || id;
  const { part = '' } = useParams();
  const manual = connector.kind === 'manual';
  const parts = allParts.filter(({ id: of }) => {
    switch (of) {
      case 'guardians':
        return source.guardians;
      case 'mapping':
        return source.mapping;
      case 'sharing':
        // A guardian file has no schools and classes of its own to choose from.
        return !source.guardians;
      case 'schedule':
      case 'packages':
        return !manual;
      default:
        return true;
    }
  });
  const shown = parts.find((candidate) => candidate.id === part);
  const lastSync = useSync(district, source.lastSync ?? '').data;
  if (!shown) return <NotFoundScreen />;
  const status = sourceStatus(source, lastSync);
  return (
    <Page
      title={name}
      windowTitle={part && `${shown.label} – ${name}`}
      intro={connector.displayName}
      actions={
        <span aria-live="polite">
          <Tag tone={status.tone}>{status.label}</Tag>
        </span>
      }
    >
      <nav className="parts" aria-label="This source">
        {parts.map(({ id: to, label }) => (
          <NavLink key={to} end to={screens.source(district, id, to)}>
            {manual && to === '' ? 'Entries' : label}
          </NavLink>
        ))}
      </nav>
      {part === '' && <MappingMissing source={source} />}
      {part === '' && manual && <Entries source={source} />}
      {part === '' && <Standing source={source} connector={connector} lastSync={lastSync} />}
      {part === 'schedule' && (
        <ScheduleForm key={source.etag} source={source} connector={connector} />
      )}
      {part === 'guardians' && <GuardianForm key={source.etag} source={source} />}
      {part === 'mapping' && <MappingForm key={source.etag} source={source} />}
      {part === 'sharing' && <SharingForm key={source.etag} source={source} />}
      {part === 'packages' && <Packages source={source} />}
      {part === 'holds' && <HoldPolicyForm key={source.etag} source={source} />}
      {part === 'settings' && <Settings source={source} connector={connector} />}
    </Page>
  );
}

function Settings({ source, connector }: SourceProps) {
  const { id: district } = useDistrict();
  const update = useUpdateSource(district, source.sourceId ?? '');
  if (!useMay('sources.write')) {
    return <p className="soft">Your account may not change the settings of sources.</p>;
  }
  return (
    <>
      <SourceForm
        key={source.etag}
        connector={connector}
        name={source.displayName ?? ''}
        values={valuesFrom(source.settings)}
        kept={source.secretsSet}
        action="Save the settings"
        busy={update.isPending}
        error={update.isError && <ErrorState error={update.error} />}
        onSubmit={(input) => {
          update.mutate({ ...input, etag: source.etag });
        }}
      />
      <p className="soft" role="status">
        {update.isSuccess ? 'The settings are saved.' : ''}
      </p>
      {!source.stopped?.removal && <Removal source={source} />}
    </>
  );
}
