import { Button, NativeSelect } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import { useMappingPreview } from '../../api/mapping';
import type { Schema } from '../../api/client';
import { useMay } from '../../api/queries';
import { useUpdateSource } from '../../api/sources';
import { SaveBar } from '../../components/SaveBar';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { roleLabel } from '../../lib/entities';
import { formatNumber, plural } from '../../lib/format';
import { covered, mappable, sameMapping } from '../../lib/mapping';
import { screens } from '../../lib/urls';
import { MappingPreview } from './MappingPreview';
import { PartForm } from './PartForm';

type Mapping = Schema['Mapping'];

/** How records are made of files that have names and columns of their own, tried as it is written. */
export function MappingForm({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const saved: Mapping = source.mapping ?? {};
  const [mapping, setMapping] = useState(saved);
  // What was asked for last; the form may be ahead of it.
  const [tried, setTried] = useState(saved);
  const preview = useMappingPreview(district, id, tried);
  const update = useUpdateSource(district, id);
  const mayWrite = useMay('sources.write');
  const mayRead = useMay('rosters.read');

  if (!mayWrite || !mayRead) {
    return <p className="soft">Your account may not change how files are read.</p>;
  }
  if (preview.isPending) return <LoadingLines label="Reading the files" lines={8} />;
  const parts = mapping.records ?? [];
  const { files = [], suggestion = {} } = preview.data ?? {};
  const suggested = suggestion.records?.length ?? 0;
  const begin = () => {
    setMapping(suggestion);
    setTried(suggestion);
  };
  const setParts = (records: Schema['MappedRecords'][]) => {
    setMapping({ records });
  };
  return (
    <form
      aria-label="How files are read"
      onSubmit={(event) => {
        event.preventDefault();
        update.mutate({ mapping, etag: source.etag });
      }}
    >
      <p>
        The files of this source have names and columns of their own. Here you say what they are;
        the preview shows what that makes of the first 100 rows of each file. Nothing is synced.
      </p>
      {preview.isError && (
        <>
          <ErrorState error={preview.error} onRetry={() => void preview.refetch()} />
          {files.length === 0 && (
            <p>
              <Link to={screens.source(district, id)}>Bring the files first</Link>; then you see
              here what they have.
            </p>
          )}
        </>
      )}
      <Files files={files} />
      {parts.length === 0 && files.length > 0 && (
        <EmptyState title={suggested > 0 ? 'Begin with a suggestion' : 'Nothing is mapped yet'}>
          <p>
            {suggested > 0
              ? `By the names of files and columns, ${plural(suggested, 'kind of record was', 'kinds of records were')} recognized. Check what it says before you save it.`
              : 'The names of these files and columns are not usual ones. Say below what they make.'}
          </p>
          {suggested > 0 && <Button onClick={begin}>Use the suggestion</Button>}
        </EmptyState>
      )}
      <div className="mapping">
        <div className="stack-wide">
          {parts.map((part, index) => (
            <PartForm
              key={index}
              part={part}
              number={index + 1}
              files={files}
              onChange={(next) => {
                setParts(
                  next
                    ? parts.map((other) => (other === part ? next : other))
                    : parts.filter((other) => other !== part),
                );
              }}
            />
          ))}
          {files.length > 0 && (
            <AddPart
              files={files}
              onAdd={(part) => {
                setParts([...parts, part]);
              }}
            />
          )}
        </div>
        {(tried.records?.length ?? 0) + parts.length > 0 && (
          <section
            className="mapping-preview"
            aria-labelledby="preview"
            aria-busy={preview.isFetching}
          >
            <div className="section-head">
              <h2 id="preview">Preview</h2>
              <Button
                variant="default"
                disabled={sameMapping(mapping, tried)}
                loading={preview.isFetching}
                onClick={() => {
                  setTried(mapping);
                }}
              >
                Show what this makes
              </Button>
            </div>
            {!sameMapping(mapping, tried) && (
              <p className="soft">The preview is of what you had before your last changes.</p>
            )}
            {preview.data && !preview.isError && (
              <MappingPreview
                preview={preview.data}
                onCover={(entity, value, to) => {
                  setMapping(covered(mapping, entity, value, to));
                }}
              />
            )}
          </section>
        )}
      </div>
      <SaveBar
        changed={!sameMapping(mapping, saved)}
        busy={update.isPending}
        error={update.error}
        onUndo={() => {
          setMapping(saved);
          setTried(saved);
        }}
      >
        {parts.length > 0 && suggested > 0 && !sameMapping(mapping, suggestion) && (
          <Button variant="default" onClick={begin}>
            Start over from the suggestion
          </Button>
        )}
      </SaveBar>
    </form>
  );
}

/** What the newest package has. */
function Files({ files }: { files: Schema['DeliveredFile'][] }) {
  if (files.length === 0) return null;
  return (
    <details className="card panel delivered">
      <summary>{plural(files.length, 'file', 'files')} in the newest package</summary>
      {files.map(({ name, columns = [], error }) => (
        <div key={name}>
          <h3>
            <code>{name}</code>
          </h3>
          {error ? (
            <ErrorState error={new Error(error)} />
          ) : (
            <dl className="facts">
              {columns.map((column, index) => (
                <div key={index}>
                  <dt>{column.name}</dt>
                  <dd>{column.samples?.join(', ') || <span className="soft">empty</span>}</dd>
                </div>
              ))}
            </dl>
          )}
        </div>
      ))}
    </details>
  );
}

interface AddPartProps {
  files: Schema['DeliveredFile'][];
  onAdd: (part: Schema['MappedRecords']) => void;
}

function AddPart({ files, onAdd }: AddPartProps) {
  const [entity, setEntity] = useState('users');
  const [file, setFile] = useState(files[0]?.name ?? '');
  return (
    <section className="card panel" aria-labelledby="add-part">
      <h2 id="add-part">Add records of a file</h2>
      <div className="filters">
        <NativeSelect
          label="Records"
          value={entity}
          onChange={(event) => {
            setEntity(event.currentTarget.value);
          }}
        >
          {Object.keys(mappable).map((name) => (
            <option key={name} value={name}>
              {roleLabel(name)}
            </option>
          ))}
        </NativeSelect>
        <NativeSelect
          label="from the file"
          value={file}
          onChange={(event) => {
            setFile(event.currentTarget.value);
          }}
        >
          {files.map(({ name, columns }) => (
            <option key={name} value={name}>
              {name} ({formatNumber(columns?.length)} columns)
            </option>
          ))}
        </NativeSelect>
        <Button
          variant="default"
          onClick={() => {
            onAdd({ entity, file, fields: {} });
          }}
        >
          Add<span className="visually-hidden"> these records</span>
        </Button>
      </div>
    </section>
  );
}
