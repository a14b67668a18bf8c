import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useGuardianPreview } from '../../api/guardians';
import { useMay } from '../../api/queries';
import { useUpdateSource } from '../../api/sources';
import { Choice } from '../../components/Choice';
import { SaveBar } from '../../components/SaveBar';
import { ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { useDistrict } from '../../lib/district';
import { formatNumber, plural, sentence } from '../../lib/format';
import { fieldOf, guardianFields, guardianKeys, withField } from '../../lib/guardians';
import { screens } from '../../lib/urls';
import { GuardianReport } from './GuardianReport';

type GuardianFile = Schema['GuardianFile'];
type Preview = Schema['PreviewGuardiansResponse'];

/** How a guardian file is read and matched, tried before it is saved. */
export function GuardianForm({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const saved = source.guardians ?? {};
  const [file, setFile] = useState<GuardianFile>(saved);
  // What was asked for last; the form may be ahead of it.
  const [tried, setTried] = useState<GuardianFile>(saved);
  const preview = useGuardianPreview(district, id, tried);
  const update = useUpdateSource(district, id);
  const mayChange = useMay('sources.write');
  const same = (a: GuardianFile, b: GuardianFile) => JSON.stringify(a) === JSON.stringify(b);
  const changed = !same(file, saved);

  if (!mayChange) return <p className="soft">Your account may not change how files are read.</p>;
  return (
    <form
      aria-label="Guardian file"
      onSubmit={(event) => {
        event.preventDefault();
        update.mutate({ guardians: file, etag: source.etag });
      }}
    >
      <p>
        This source delivers one file with a row for each student and guardian. The students are
        those of your other sources.
      </p>
      {preview.isPending ? (
        <LoadingLines label="Reading the file" lines={8} />
      ) : preview.isError ? (
        <>
          <ErrorState error={preview.error} onRetry={() => void preview.refetch()} />
          <p>
            <Link to={screens.source(district, id)}>Bring a file first</Link>, or test the
            connection; then you see here what it has.
          </p>
        </>
      ) : (
        <>
          <Messages preview={preview.data} />
          <Matching
            file={file}
            keys={preview.data.keys ?? []}
            onChange={(part) => {
              setFile({ ...file, ...part });
            }}
          />
          <Columns
            columns={preview.data.columns ?? []}
            said={file.columns ?? {}}
            onChange={(columns) => {
              setFile({ ...file, columns });
            }}
          />
          <section aria-labelledby="preview" aria-busy={preview.isFetching}>
            <h2 id="preview">What comes of the file</h2>
            <Outcome preview={preview.data} />
            <Button
              variant="default"
              disabled={same(file, tried)}
              loading={preview.isFetching}
              onClick={() => {
                setTried(file);
              }}
            >
              Try these settings
            </Button>
          </section>
        </>
      )}
      <SaveBar
        changed={changed}
        busy={update.isPending}
        error={update.error}
        onUndo={() => {
          setFile(saved);
        }}
      />
    </form>
  );
}

/** What is wrong with the file as a whole, and what it lacks. */
function Messages({ preview }: { preview: Preview }) {
  const messages = preview.messages ?? [];
  if (messages.length === 0) return null;
  const bad = messages.some((message) => message.level === 'error');
  return (
    <div className={`notice ${bad ? 'notice-bad' : 'notice-warning'}`}>
      <div>
        <p className="notice-title">
          {bad ? 'The file cannot be used like this' : 'Worth a thought'}
        </p>
        <ul>
          {messages.map((message, index) => (
            <li key={index}>{sentence(message.message ?? '')}</li>
          ))}
        </ul>
      </div>
    </div>
  );
}

interface MatchingProps {
  file: GuardianFile;
  keys: Schema['GuardianKeyMatch'][];
  onChange: (part: GuardianFile) => void;
}

function Matching({ file, keys, onChange }: MatchingProps) {
  const key =
    !file.studentKey || file.studentKey === 'GUARDIAN_KEY_UNSPECIFIED'
      ? 'SOURCED_ID'
      : file.studentKey;
  const fileWins = file.policy === 'FILE_WINS';
  const whole = (text: string) => (text === '' ? undefined : Math.trunc(Number(text)));
  return (
    <>
      <fieldset className="choices">
        <legend>By what does the file name a student?</legend>
        {guardianKeys.map(({ id, label }) => {
          const match = keys.find((candidate) => candidate.key === id);
          return (
            <Choice
              key={id}
              name="key"
              label={label}
              chosen={key === id}
              onChoose={() => {
                onChange({ studentKey: id });
              }}
            >
              {match &&
                `${String(Math.round(match.matchPercent ?? 0))}% of the rows, ${formatNumber(match.matchedRows)}, name a student by it`}
            </Choice>
          );
        })}
      </fieldset>
      <label className="tick choice-line">
        <input
          type="checkbox"
          checked={file.ignoreLeadingZeros ?? false}
          onChange={(event) => {
            onChange({ ignoreLeadingZeros: event.currentTarget.checked });
          }}
        />
        Numbers are the same with and without zeros before them
      </label>
      <label className="tick choice-line">
        <input
          type="checkbox"
          checked={file.noHeader ?? false}
          onChange={(event) => {
            onChange({ noHeader: event.currentTarget.checked });
          }}
        />
        The first row is data, not names of columns
      </label>
      <fieldset className="choices">
        <legend>Guardians that your other sources have too</legend>
        <Choice
          name="policy"
          label="The file fills in what they lack"
          chosen={!fileWins}
          onChoose={() => {
            onChange({ policy: 'FILL_MISSING' });
          }}
        />
        <Choice
          name="policy"
          label="What the file says counts"
          chosen={fileWins}
          onChoose={() => {
            onChange({ policy: 'FILE_WINS' });
          }}
        />
      </fieldset>
      <section aria-labelledby="waits">
        <h2 id="waits">What waits for a decision</h2>
        <div className="filters">
          <TextInput
            type="number"
            min={0}
            max={100}
            label="Students found in fewer rows than"
            description="In percent; 0 for never"
            placeholder="80"
            rightSection="%"
            value={file.minMatchPercent ?? ''}
            onChange={(event) => {
              onChange({ minMatchPercent: whole(event.currentTarget.value) });
            }}
          />
          <TextInput
            type="number"
            min={0}
            max={100}
            label="Down since the last time by more than"
            description="In percent; 100 for never"
            placeholder="10"
            rightSection="%"
            value={file.maxDropPercent ?? ''}
            onChange={(event) => {
              onChange({ maxDropPercent: whole(event.currentTarget.value) });
            }}
          />
        </div>
      </section>
    </>
  );
}

interface ColumnsProps {
  columns: Schema['GuardianColumn'][];
  said: Record<string, string>;
  onChange: (said: Record<string, string>) => void;
}

function Columns({ columns, said, onChange }: ColumnsProps) {
  if (columns.length === 0) return null;
  return (
    <section aria-labelledby="columns">
      <h2 id="columns">Columns of the file</h2>
      <TableScroll label="Table of columns">
        <table className="table columns-table">
          <thead>
            <tr>
              <th scope="col">Column</th>
              <th scope="col">Is read as</th>
              <th scope="col" className="number">
                Rows with a value
              </th>
            </tr>
          </thead>
          <tbody>
            {columns.map((column) => (
              <tr key={column.name}>
                <th scope="row">{column.name}</th>
                <td className="mode">
                  <NativeSelect
                    size="xs"
                    aria-label={`${column.name ?? ''} is read as`}
                    value={fieldOf(column, said)}
                    onChange={(event) => {
                      onChange(withField(column, event.currentTarget.value, said));
                    }}
                  >
                    <option value="">Not read</option>
                    {guardianFields.map(({ id, label }) => (
                      <option key={id} value={id}>
                        {label}
                      </option>
                    ))}
                  </NativeSelect>
                </td>
                <td className="number">{formatNumber(column.filled)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </section>
  );
}

function Outcome({ preview }: { preview: Preview }) {
  const holds = preview.holdReasons ?? [];
  const findings = preview.findings ?? [];
  return (
    <>
      {holds.length > 0 && (
        <div className="notice notice-warning">
          <div>
            <p className="notice-title">A sync of this file would wait for a decision</p>
            <ul>
              {holds.map((reason, index) => (
                <li key={index}>
                  {sentence(reason.message ?? '')} {sentence(reason.nextStep ?? '')}
                </li>
              ))}
            </ul>
          </div>
        </div>
      )}
      {preview.report ? (
        <div className="card panel">
          <GuardianReport report={preview.report} />
        </div>
      ) : (
        <p className="soft">The columns do not suffice to match the file.</p>
      )}
      {findings.length > 0 && (
        <details className="more">
          <summary>
            {plural(preview.findingsCount ?? findings.length, 'fault', 'faults')} in the rows
          </summary>
          <ul className="steps">
            {findings.map((finding, index) => (
              <li key={index}>
                {finding.row ? `Row ${formatNumber(finding.row)}: ` : ''}
                {sentence(finding.message ?? '')}
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}
