import { Button } from '@mantine/core';
import { useId, useState } from 'react';
import { useMay } from '../../api/queries';
import { useTestSource, useUpdateSource, useUpload } from '../../api/sources';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { plural } from '../../lib/format';
import type { SourceProps } from './SourceScreen';
import { TestResult } from './TestResult';
import { useRunSync } from './useRunSync';

/** Tests the connection, or an uploaded package, and syncs, for good or on trial. */
export function Try({ source, connector }: SourceProps) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const mayTest = useMay('sources.write');
  const mayRun = useMay('syncs.run');
  const upload = useUpload(district, id);
  const test = useTestSource(district, id);
  const start = useRunSync(id);
  const confirm = useUpdateSource(district, id);
  const [files, setFiles] = useState<readonly File[]>([]);
  const field = useId();
  const uploads = connector.kind === 'upload';
  const uploadId = upload.data?.uploadId ?? '';
  const failed = upload.error ?? test.error ?? confirm.error ?? start.error;
  const ready = test.data?.ok ?? (uploads ? upload.isSuccess && !mayTest : source.lastSync);

  const sync = (dryRun: boolean) => {
    start.run({ uploadId, dryRun });
  };
  return (
    <section className="card panel decision" aria-labelledby="try">
      <h2 id="try">{uploads ? 'Upload a package' : 'Test and sync'}</h2>
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
        mayTest && (
          <>
            <p>
              A test looks through what is there and changes nothing, here or there. A trial run
              shows what a sync would change, record by record, and changes nothing either.
            </p>
            <Button
              variant={ready ? 'default' : 'filled'}
              loading={test.isPending || confirm.isPending}
              onClick={() => {
                start.reset();
                test.mutate('');
              }}
            >
              {test.data ? 'Test again' : 'Test the connection'}
            </Button>
          </>
        )
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
          before={(source.settings ?? {}) as Record<string, unknown>}
          busy={confirm.isPending}
          onConfirm={(settings) => {
            confirm.mutate({
              settings: { ...source.settings, ...settings },
              etag: source.etag,
            });
          }}
        />
      )}
      {ready && mayRun && (
        <div className="decision-actions test-result">
          <Button
            loading={start.isPending}
            disabled={Boolean(source.pause)}
            onClick={() => {
              sync(false);
            }}
          >
            {uploads ? 'Sync this package' : source.lastSync ? 'Sync now' : 'Start the first sync'}
          </Button>
          <Button
            variant="default"
            disabled={start.isPending || Boolean(source.pause)}
            onClick={() => {
              sync(true);
            }}
          >
            Trial run
          </Button>
          {source.pause && <span className="soft">The source is paused.</span>}
        </div>
      )}
    </section>
  );
}
