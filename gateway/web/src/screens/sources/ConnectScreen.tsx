import { useState } from 'react';
import { Link, useNavigate, useSearchParams } from 'react-router';
import type { Schema } from '../../api/client';
import { useConnectors, useCreateSource, useSources } from '../../api/sources';
import { Choice } from '../../components/Choice';
import { Page } from '../../components/Page';
import { EmptyState, ErrorState, Loading } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { sourceIdFor, valuesFrom } from '../../lib/schema';
import { queryString, screens } from '../../lib/urls';
import { SourceForm } from './SourceForm';

type Catalogue = Schema['ListConnectorsResponse'];

/** The first two steps of a connection; the address says what was chosen. */
export function ConnectScreen() {
  const { id: district } = useDistrict();
  const [parameters] = useSearchParams();
  const catalogue = useConnectors();
  const vendor = catalogue.data?.vendors?.find((v) => v.vendorId === parameters.get('vendor'));
  const connector = catalogue.data?.connectors?.find(
    (c) => c.connectorId === (vendor?.connector ?? parameters.get('connector')),
  );
  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.sources(district)}>Sources</Link>
        {connector && (
          <>
            {' › '}
            <Link to={screens.connect(district)}>Choose a source</Link>
          </>
        )}
      </nav>
      {catalogue.isPending ? (
        <Loading label="Loading what can be connected" />
      ) : catalogue.isError ? (
        <ErrorState error={catalogue.error} onRetry={() => void catalogue.refetch()} />
      ) : connector ? (
        <Settings key={parameters.toString()} connector={connector} vendor={vendor} />
      ) : (
        <Choose catalogue={catalogue.data} />
      )}
    </>
  );
}

function Choose({ catalogue }: { catalogue: Catalogue }) {
  const connectors = catalogue.connectors ?? [];
  const method = (id: string | undefined) =>
    connectors.find((connector) => connector.connectorId === id)?.displayName ?? id;
  if (connectors.length === 0) {
    return (
      <Page title="Connect a source">
        <EmptyState title="Nothing can be connected">
          <p>This hub has no connectors.</p>
        </EmptyState>
      </Page>
    );
  }
  return (
    <Page
      title="Connect a source"
      intro="Where does your roster come from? Each choice comes with instructions for the export, and nothing is synced before you say so."
    >
      <h2>Your student information system</h2>
      <ul className="choice-cards">
        {(catalogue.vendors ?? []).map((vendor) => (
          <li key={vendor.vendorId} className="card">
            <Link to={queryString({ vendor: vendor.vendorId })}>{vendor.displayName}</Link>
            <span className="soft">{method(vendor.connector)}</span>
          </li>
        ))}
      </ul>
      <h2>Or a method</h2>
      <ul className="choice-cards">
        {connectors.map((connector) => (
          <li key={connector.connectorId} className="card">
            <Link to={queryString({ connector: connector.connectorId })}>
              {connector.displayName}
            </Link>
            <span className="soft">{connector.description}</span>
          </li>
        ))}
      </ul>
    </Page>
  );
}

type Contents = 'oneroster' | 'mapping' | 'guardians';

const kindsOfFiles: readonly { id: Contents; label: string; note: string }[] = [
  { id: 'oneroster', label: 'OneRoster files', note: 'users.csv, classes.csv, enrollments.csv …' },
  {
    id: 'mapping',
    label: 'Other CSV files',
    note: 'With names and columns of their own; you say next what they are.',
  },
  {
    id: 'guardians',
    label: 'A guardian file',
    note: 'One row for each student and guardian. The students come from another source.',
  },
];

interface SettingsProps {
  connector: Schema['Connector'];
  vendor: Schema['Vendor'] | undefined;
}

function Settings({ connector, vendor }: SettingsProps) {
  const { id: district } = useDistrict();
  const navigate = useNavigate();
  const sources = useSources(district);
  const create = useCreateSource(district);
  const name = vendor?.displayName ?? connector.displayName ?? '';
  const [contents, setContents] = useState<Contents>(vendor?.mapped ? 'mapping' : 'oneroster');
  const instructions = vendor?.instructions ?? [];
  const manual = connector.kind === 'manual';

  if (sources.isPending) return <Loading label="Loading your sources" />;
  if (sources.isError) {
    return <ErrorState error={sources.error} onRetry={() => void sources.refetch()} />;
  }
  return (
    <Page title={`Connect ${name}`} intro={connector.description}>
      <div className="columns">
        <SourceForm
          connector={connector}
          name={name.slice(0, 60)}
          values={valuesFrom(vendor?.defaultSettings)}
          action={manual ? 'Save' : 'Save and go on to the test'}
          busy={create.isPending}
          error={create.isError && <ErrorState error={create.error} />}
          onSubmit={(input) => {
            const taken = sources.data.map((source) => source.sourceId ?? '');
            const sourceId = sourceIdFor(input.displayName, taken);
            create.mutate(
              {
                sourceId,
                source: {
                  ...input,
                  connector: connector.connectorId,
                  // Empty, they say what the files are; the rest is set where a package is seen.
                  ...(contents !== 'oneroster' && { [contents]: {} }),
                },
              },
              {
                onSuccess: () => {
                  void navigate(screens.source(district, sourceId));
                },
              },
            );
          }}
        />
        <div className="stack-wide">
          {!manual && (
            <section className="card panel">
              <fieldset className="choices">
                <legend>What are the files?</legend>
                {kindsOfFiles.map(({ id, label, note }) => (
                  <Choice
                    key={id}
                    name="contents"
                    label={label}
                    chosen={contents === id}
                    onChoose={() => {
                      setContents(id);
                    }}
                  >
                    {note}
                  </Choice>
                ))}
              </fieldset>
            </section>
          )}
          {instructions.length > 0 && (
            <section className="card panel" aria-labelledby="instructions">
              <h2 id="instructions">How to set up the export</h2>
              <ol className="steps">
                {instructions.map((step) => (
                  <li key={step}>{step}</li>
                ))}
              </ol>
            </section>
          )}
          {contents === 'oneroster' && !manual && <Needs connector={connector} />}
        </div>
      </div>
    </Page>
  );
}

function Needs({ connector }: { connector: Schema['Connector'] }) {
  return (
    <section className="card panel" aria-labelledby="needs">
      <h2 id="needs">What the export should have</h2>
      <Requirements title="Required" list={connector.required ?? []} />
      <Requirements title="Recommended" list={connector.recommended ?? []} />
    </section>
  );
}

export function Requirements({
  title,
  list,
}: {
  title: string;
  list: readonly Schema['DataRequirement'][];
}) {
  if (list.length === 0) return null;
  return (
    <>
      <h3>{title}</h3>
      <ul className="steps">
        {list.map((need, index) => (
          <li key={index}>
            <code>{need.file}</code>
            {need.column && (
              <>
                , column <code>{need.column}</code>
              </>
            )}
            {need.reason && `: ${need.reason}`}
          </li>
        ))}
      </ul>
    </>
  );
}
