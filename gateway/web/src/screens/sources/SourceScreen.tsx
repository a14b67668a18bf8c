import { Button } from '@mantine/core';
import { useId, useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import type { Schema } from '../../api/client';
import { useMe } from '../../api/queries';
import {
  useConnectors,
  useSource,
  useStartSync,
  useTestSource,
  useUpdateSource,
  useUpload,
} from '../../api/sources';
import { Page } from '../../components/Page';
import { ErrorState, Loading } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { plural } from '../../lib/format';
import { valuesFrom } from '../../lib/schema';
import { screens } from '../../lib/urls';
import { SourceForm } from './SourceForm';
import { LastSync } from './SourcesScreen';
import { TestResult } from './TestResult';

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
      {failed ? (
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

interface SourceProps {
  source: Schema['Source'];
  connector: Schema['Connector'];
}

function Source({ source, connector }: SourceProps) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const me = useMe();
  const scopes = me.data?.scopes ?? [];
  const update = useUpdateSource(district, id);
  const mayChange = scopes.includes('sources.write');
  return (
    <Page title={source.displayName || id} intro={connector.displayName}>
      <p>Last sync: {source.lastSync ? <LastSync sync={source.lastSync} /> : 'none yet'}</p>
      {(mayChange || scopes.includes('syncs.run')) && (
        // Another setting is another connection: what was found out is of the one before.
        <Try key={source.etag} source={source} connector={connector} mayTest={mayChange} />
      )}
      {mayChange && (
        <section aria-labelledby="settings">
          <h2 id="settings">Settings</h2>
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
          <p className="visually-hidden" role="status">
            {update.isSuccess ? 'The settings are saved.' : ''}
          </p>
        </section>
      )}
    </Page>
  );
}

/** Tests the connection, or an uploaded package, and syncs. */
function Try({ source, connector, mayTest }: SourceProps & { mayTest: boolean }) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const navigate = useNavigate();
  const upload = useUpload(district, id);
  const test = useTestSource(district, id);
  const start = useStartSync(district, id);
  const confirm = useUpdateSource(district, id);
  const [files, setFiles] = useState<readonly File[]>([]);
  const field = useId();
  const uploads = connector.kind === 'upload';
  const uploadId = upload.data?.uploadId ?? '';
  const failed = upload.error ?? test.error ?? confirm.error ?? start.error;

  const sync = (
    <Button
      variant={test.data?.ok ? 'filled' : 'default'}
      loading={start.isPending}
      onClick={() => {
        start.mutate(uploadId, {
          onSuccess: (made) => {
            void navigate(screens.sync(district, made.syncId ?? ''));
          },
        });
      }}
    >
      {uploads ? 'Sync this package' : source.lastSync ? 'Sync now' : 'Start the first sync'}
    </Button>
  );
  return (
    <section className="card panel decision" aria-labelledby="try">
      <h2 id="try">{uploads ? 'Upload a package' : 'Test the connection'}</h2>
      {uploads ? (
        <form
          className="upload"
          onSubmit={(event) => {
            event.preventDefault();
            test.reset();
            upload.mutate(files, {
              onSuccess: (kept) => {
                if (mayTest) test.mutate(kept.uploadId ?? '');
              },
            });
          }}
        >
          <label htmlFor={field}>One zip, or all CSV files of one export</label>
          <input
            id={field}
            type="file"
            multiple
            required
            accept=".zip,.csv,text/csv,application/zip"
            onChange={(event) => {
              setFiles([...(event.currentTarget.files ?? [])]);
              upload.reset();
              test.reset();
            }}
          />
          <Button type="submit" variant="default" loading={upload.isPending || test.isPending}>
            Upload and check
          </Button>
        </form>
      ) : (
        <>
          <p>
            Signs in, fetches what is there and looks through it. Nothing is changed, here or there.
          </p>
          {mayTest && (
            <Button
              variant={test.data?.ok ? 'default' : 'filled'}
              loading={test.isPending || confirm.isPending}
              onClick={() => {
                start.reset();
                test.mutate('');
              }}
            >
              {test.data ? 'Test again' : 'Test the connection'}
            </Button>
          )}
        </>
      )}
      {upload.isSuccess && (
        <p className="soft" role="status">
          {plural(upload.data.files?.length ?? 0, 'file is', 'files are')} uploaded:{' '}
          {upload.data.files?.map((file) => file.name).join(', ')}.
        </p>
      )}
      {failed && <ErrorState error={failed} />}
      {test.data && (
        <TestResult
          result={test.data}
          busy={confirm.isPending}
          onConfirm={(settings) => {
            confirm.mutate({
              settings: { ...source.settings, ...settings },
              etag: source.etag,
            });
          }}
        />
      )}
      {(test.data?.ok || (uploads ? upload.isSuccess && !mayTest : source.lastSync)) && (
        <div className="decision-actions">{sync}</div>
      )}
    </section>
  );
}
