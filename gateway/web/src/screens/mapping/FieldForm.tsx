import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schema } from '../../api/client';
import { Removable } from '../../components/Removable';
import { formatNumber } from '../../lib/format';
import { columnOf, fieldLabel, sameColumn, valueOf, withValue } from '../../lib/mapping';

type Field = Schema['MappedField'];

interface FieldFormProps {
  /** As OneRoster calls it. */
  name: string;
  field: Field;
  columns: readonly string[];
  /** Without a field: this one is removed. */
  onChange: (field?: Field) => void;
}

/** A column, or a text with columns in it, and what its values stand for. */
export function FieldForm({ name, field, columns, onChange }: FieldFormProps) {
  const value = field.value ?? '';
  const label = fieldLabel(name);
  const read = columnOf(value);
  const column = columns.find((candidate) => read !== undefined && sameColumn(candidate, read));
  const pairs = Object.entries(field.values ?? {});
  return (
    <li className="mapped-field">
      <NativeSelect
        label={label}
        value={column === undefined ? 'text' : valueOf(column)}
        onChange={(event) => {
          const next = event.currentTarget.value;
          // A text begins as what it was, to be written further.
          onChange({ ...field, value: next === 'text' ? `${value} ` : next });
        }}
      >
        <optgroup label="A column">
          {columns.map((candidate) => (
            <option key={candidate} value={valueOf(candidate)}>
              {candidate}
            </option>
          ))}
        </optgroup>
        <option value="text">A text …</option>
      </NativeSelect>
      {column === undefined && (
        <TextInput
          label={`Text of ${label}`}
          description="{Column} stands for what the row has there"
          required
          autoComplete="off"
          spellCheck={false}
          value={value}
          onChange={(event) => {
            onChange({ ...field, value: event.currentTarget.value });
          }}
        />
      )}
      <details>
        <summary>
          {inWords(pairs)}
          <span className="visually-hidden">: values of {label}</span>
        </summary>
        <Values label={label} field={field} onChange={onChange} />
        {/date$/i.test(name) && (
          <TextInput
            label={`How dates of ${label} are written`}
            description="MM/dd/yyyy for example. Empty: any of the usual ways"
            autoComplete="off"
            spellCheck={false}
            value={field.dateFormat ?? ''}
            onChange={(event) => {
              onChange({ ...field, dateFormat: event.currentTarget.value });
            }}
          />
        )}
      </details>
      <Button
        variant="default"
        size="compact-xs"
        onClick={() => {
          onChange();
        }}
      >
        Remove<span className="visually-hidden"> {label}</span>
      </Button>
    </li>
  );
}

function inWords(pairs: [string, string][]): string {
  if (pairs.length === 0) return 'As it is';
  if (pairs.length > 3) return `${formatNumber(pairs.length)} values stand for others`;
  return pairs.map(([from, to]) => `${from || 'blank'} → ${to}`).join(', ');
}

/** What values stand for, and what becomes of the others. */
function Values({
  label,
  field,
  onChange,
}: {
  label: string;
  field: Field;
  onChange: (field: Field) => void;
}) {
  const [from, setFrom] = useState('');
  const [to, setTo] = useState('');
  const pairs = Object.entries(field.values ?? {});
  return (
    <>
      <Removable
        items={pairs}
        words={([value, meaning]) => `${value || 'blank'} stands for ${meaning}`}
        onChange={(left) => {
          const { otherwise, ...others } = field;
          // Without values there are no others.
          onChange({
            ...others,
            values: Object.fromEntries(left),
            ...(left.length > 0 && { otherwise }),
          });
        }}
      />
      <div className="filters">
        <TextInput
          label={`A value of ${label}`}
          autoComplete="off"
          value={from}
          onChange={(event) => {
            setFrom(event.currentTarget.value);
          }}
        />
        <TextInput
          label="stands for"
          autoComplete="off"
          value={to}
          onChange={(event) => {
            setTo(event.currentTarget.value);
          }}
        />
        <Button
          variant="default"
          disabled={!to.trim()}
          onClick={() => {
            onChange(withValue(field, from.trim(), to.trim()));
            setFrom('');
            setTo('');
          }}
        >
          Add<span className="visually-hidden"> this value</span>
        </Button>
      </div>
      {pairs.length > 0 && (
        <NativeSelect
          label={`Other values of ${label}`}
          value={field.otherwise === undefined ? 'reject' : 'keep'}
          onChange={(event) => {
            const keep = event.currentTarget.value === 'keep';
            onChange({ ...field, otherwise: keep ? field.value : undefined });
          }}
        >
          <option value="keep">
            {field.otherwise === undefined || field.otherwise === field.value
              ? 'stay as they are'
              : `become ${field.otherwise}`}
          </option>
          <option value="reject">leave their rows out</option>
        </NativeSelect>
      )}
    </>
  );
}
