import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schema } from '../../api/client';
import { EmptyState } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { roleLabel } from '../../lib/entities';
import { formatNumber, plural, sentence } from '../../lib/format';
import { fieldLabel } from '../../lib/mapping';
import { roleFamilies } from '../../lib/roles';

type Uncovered = Schema['UncoveredValue'];

interface MappingPreviewProps {
  preview: Schema['PreviewMappingResponse'];
  onCover: (entity: string, value: Uncovered, to: string) => void;
}

/** What a mapping makes of the first rows, entity by entity, and what it does not understand. */
export function MappingPreview({ preview, onCover }: MappingPreviewProps) {
  const { entities = [], findings = [] } = preview;
  const [chosen, setChosen] = useState('');
  const shown = entities.find(({ entity }) => entity === chosen) ?? entities[0];
  return (
    <>
      {findings.length > 0 && (
        <div className="notice notice-bad">
          <div>
            <p className="notice-title">About the files as a whole</p>
            <Findings findings={findings} />
          </div>
        </div>
      )}
      {!shown ? (
        findings.length === 0 && <EmptyState title="This makes no records" />
      ) : (
        <>
          <NativeSelect
            label="Records made"
            className="toolbar"
            value={shown.entity}
            onChange={(event) => {
              setChosen(event.currentTarget.value);
            }}
          >
            {entities.map(({ entity = '', records = [], uncovered = [] }) => (
              <option key={entity} value={entity}>
                {roleLabel(entity)}: {formatNumber(records.length)}
                {uncovered.length > 0 &&
                  `, ${plural(uncovered.length, 'value is', 'values are')} not understood`}
              </option>
            ))}
          </NativeSelect>
          {(shown.uncovered ?? []).length > 0 && (
            <div className="notice notice-warning">
              <div>
                <p className="notice-title">Values that are not understood</p>
                <ul className="plain">
                  {(shown.uncovered ?? []).map((value) => (
                    <Cover
                      key={`${value.file ?? ''} ${value.field ?? ''} ${value.value ?? ''}`}
                      value={value}
                      onCover={(to) => {
                        onCover(shown.entity ?? '', value, to);
                      }}
                    />
                  ))}
                </ul>
              </div>
            </div>
          )}
          {(shown.findings ?? []).length > 0 && (
            <details className="preview-findings">
              <summary>
                {plural(shown.findings?.length ?? 0, 'fault', 'faults')} in the data
              </summary>
              <Findings findings={shown.findings ?? []} />
            </details>
          )}
          <Records entity={shown.entity ?? ''} records={shown.records ?? []} />
        </>
      )}
    </>
  );
}

function Findings({ findings }: { findings: Schema['SyncFinding'][] }) {
  return (
    <ul className="steps">
      {findings.map((finding, index) => (
        <li key={index}>
          {finding.file && (
            <>
              <code>{finding.file}</code>
              {finding.row ? `, row ${formatNumber(finding.row)}` : ''}
              {finding.column ? `, column ${finding.column}` : ''}:{' '}
            </>
          )}
          {sentence(finding.message ?? '')}
        </li>
      ))}
    </ul>
  );
}

/** One value, to be given a meaning. */
function Cover({ value, onCover }: { value: Uncovered; onCover: (to: string) => void }) {
  const [to, setTo] = useState('');
  const [said, setSaid] = useState(false);
  const label = `“${value.value ?? ''}” stands for`;
  const change = (text: string) => {
    setTo(text);
    setSaid(false);
  };
  return (
    <li>
      <p>
        “{value.value}” in column {value.column} of <code>{value.file}</code>,{' '}
        {plural(value.rows ?? 0, 'row', 'rows')}, for {fieldLabel(value.field ?? '')}
      </p>
      <div className="filters">
        {value.field === 'role' ? (
          <NativeSelect
            label={label}
            value={to}
            onChange={(event) => {
              change(event.currentTarget.value);
            }}
          >
            <option value="">Choose a role</option>
            {roleFamilies.map(({ id }) => (
              <option key={id} value={id}>
                {roleLabel(id)}
              </option>
            ))}
          </NativeSelect>
        ) : (
          <TextInput
            label={label}
            autoComplete="off"
            value={to}
            onChange={(event) => {
              change(event.currentTarget.value);
            }}
          />
        )}
        <Button
          variant="default"
          disabled={!to.trim()}
          onClick={() => {
            onCover(to.trim());
            setSaid(true);
          }}
        >
          Add to the mapping
        </Button>
        <span role="status">{said && 'Added; show it again.'}</span>
      </div>
    </li>
  );
}

/** What tells people which record it is. */
const first = ['sourcedId', 'givenName', 'familyName', 'name', 'title', 'role', 'roles', 'email'];

function Records({ entity, records }: { entity: string; records: unknown[] }) {
  const rows = records as Record<string, unknown>[];
  const columns = [...new Set(rows.flatMap((record) => Object.keys(record)))].filter(
    (name) => name !== 'status' && name !== 'dateLastModified',
  );
  const place = (name: string) => (first.includes(name) ? first.indexOf(name) : first.length);
  columns.sort((a, b) => place(a) - place(b));
  if (rows.length === 0) return <EmptyState title="No records of these rows" />;
  return (
    <div className="preview-records">
      <TableScroll label={`${roleLabel(entity)} made of the first rows`}>
        <table className="table compact">
          <thead>
            <tr>
              {columns.map((name) => (
                <th key={name} scope="col">
                  {fieldLabel(name)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((record, index) => (
              <tr key={index}>
                {columns.map((name) => (
                  <td key={name}>{inWords(record[name])}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </div>
  );
}

/** A value of a record on one line; references are their ids. */
function inWords(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return value.map(inWords).join(', ');
  if (typeof value !== 'object') return String(value as string | number | boolean);
  const { sourcedId, org, ...others } = value as Record<string, unknown>;
  delete others.roleType;
  const rest = Object.values(others).filter((inner) => inner !== '' && inner !== null);
  return [
    ...(sourcedId === undefined ? [] : [sourcedId]),
    ...rest,
    ...(org ? [`at ${inWords(org)}`] : []),
  ]
    .map(inWords)
    .join(' ');
}
