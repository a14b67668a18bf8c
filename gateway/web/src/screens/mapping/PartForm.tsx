import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useId, useState } from 'react';
import type { Schema } from '../../api/client';
import { Removable } from '../../components/Removable';
import { roleLabel } from '../../lib/entities';
import { fieldLabel, fieldsOf, mappable, sameColumn, valueOf } from '../../lib/mapping';
import { FieldForm } from './FieldForm';

type Part = Schema['MappedRecords'];

interface PartFormProps {
  part: Part;
  /** Its place in the mapping, to tell parts with one name from each other. */
  number: number;
  files: Schema['DeliveredFile'][];
  /** Without a part: this one is removed. */
  onChange: (part?: Part) => void;
}

/** Which file makes records of one entity, and what makes each of their fields. */
export function PartForm({ part, number, files, onChange }: PartFormProps) {
  const heading = useId();
  const { entity = '', file = '', fields = {} } = part;
  const delivered = files.find(({ name }) => name?.toLowerCase() === file.toLowerCase());
  const columns = (delivered?.columns ?? []).map((column) => column.name ?? '');
  const names = fieldsOf(part);
  // What is new is open until somebody closes it.
  const [isNew] = useState(names.length === 0);
  return (
    <section className="card panel mapping-part" aria-labelledby={heading}>
      <div className="section-head">
        <h2 id={heading}>
          {number}. {roleLabel(entity)} from <code>{file}</code>
        </h2>
        <Button
          variant="default"
          size="compact-xs"
          onClick={() => {
            onChange();
          }}
        >
          Remove<span className="visually-hidden"> these {roleLabel(entity)}</span>
        </Button>
      </div>
      {files.length > 0 && !delivered && (
        <p className="field-fault">The newest package has no such file; a sync would fail.</p>
      )}
      <details open={isNew}>
        <summary>
          {names.map(fieldLabel).join(', ') || 'No fields yet'}
          <span className="visually-hidden">: fields of {roleLabel(entity)}</span>
        </summary>
        <NativeSelect
          label="File"
          value={delivered?.name ?? file}
          onChange={(event) => {
            onChange({ ...part, file: event.currentTarget.value });
          }}
        >
          {!delivered && <option value={file}>{file}</option>}
          {files.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </NativeSelect>
        <ul className="plain mapped-fields" aria-label={`Fields of ${roleLabel(entity)}`}>
          {names.map((name) => (
            <FieldForm
              key={name}
              name={name}
              field={fields[name] ?? {}}
              columns={columns}
              onChange={(field) => {
                const others = Object.entries(fields).filter(([other]) => other !== name);
                onChange({
                  ...part,
                  fields: Object.fromEntries(field ? [...others, [name, field]] : others),
                });
              }}
            />
          ))}
        </ul>
        <AddField
          missing={(mappable[entity] ?? []).filter((name) => !(name in fields))}
          taken={names}
          onAdd={(name) => {
            const own = name.startsWith('metadata.') ? name.slice('metadata.'.length) : name;
            const column = columns.find((candidate) => sameColumn(candidate, own)) ?? columns[0];
            const field = { value: column ? valueOf(column) : '' };
            onChange({ ...part, fields: { ...fields, [name]: field } });
          }}
        />
        <Conditions
          conditions={part.where ?? []}
          columns={columns}
          onChange={(where) => {
            onChange({ ...part, where });
          }}
        />
        <label className="tick choice-line">
          <input
            type="checkbox"
            checked={part.keepUnmapped ?? false}
            onChange={(event) => {
              onChange({ ...part, keepUnmapped: event.currentTarget.checked });
            }}
          />
          Keep columns that nothing reads with the records
        </label>
      </details>
    </section>
  );
}

interface AddFieldProps {
  missing: readonly string[];
  taken: readonly string[];
  onAdd: (name: string) => void;
}

function AddField({ missing, taken, onAdd }: AddFieldProps) {
  const [chosen, setChosen] = useState('');
  const [own, setOwn] = useState('');
  const name = chosen === 'own' ? `metadata.${own.trim()}` : chosen;
  const possible = name !== '' && name !== 'metadata.' && !taken.includes(name);
  return (
    <div className="filters">
      <NativeSelect
        label="Another field"
        value={chosen}
        onChange={(event) => {
          setChosen(event.currentTarget.value);
        }}
      >
        <option value="">Choose a field</option>
        {missing.map((field) => (
          <option key={field} value={field}>
            {fieldLabel(field)}
          </option>
        ))}
        <option value="own">A field of your own …</option>
      </NativeSelect>
      {chosen === 'own' && (
        <TextInput
          label="Its name"
          maxLength={200}
          autoComplete="off"
          value={own}
          onChange={(event) => {
            setOwn(event.currentTarget.value);
          }}
        />
      )}
      <Button
        variant="default"
        disabled={!possible}
        onClick={() => {
          onAdd(name);
          setChosen('');
          setOwn('');
        }}
      >
        Add<span className="visually-hidden"> this field</span>
      </Button>
    </div>
  );
}

interface ConditionsProps {
  conditions: Schema['RowCondition'][];
  columns: readonly string[];
  onChange: (conditions: Schema['RowCondition'][]) => void;
}

/** Which rows are read at all. */
function Conditions({ conditions, columns, onChange }: ConditionsProps) {
  const [column, setColumn] = useState('');
  const [values, setValues] = useState('');
  const [not, setNot] = useState(false);
  const words = (condition: Schema['RowCondition']) =>
    `${condition.column ?? ''} ${condition.not ? 'is none of' : 'is'} ${(condition.values ?? [])
      .map((value) => value || 'blank')
      .join(', ')}`;
  return (
    <details>
      <summary>
        {conditions.length === 0
          ? 'All rows are read'
          : `Only rows where ${conditions.map(words).join(', and ')}`}
      </summary>
      <Removable items={conditions} words={words} onChange={onChange} />
      <div className="filters">
        <NativeSelect
          label="Only rows where"
          value={column}
          onChange={(event) => {
            setColumn(event.currentTarget.value);
          }}
        >
          <option value="">Choose a column</option>
          {columns.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </NativeSelect>
        <NativeSelect
          label="Condition"
          value={not ? 'not' : 'is'}
          onChange={(event) => {
            setNot(event.currentTarget.value === 'not');
          }}
        >
          <option value="is">is one of</option>
          <option value="not">is none of</option>
        </NativeSelect>
        <TextInput
          label="Values"
          description="With commas between; empty: a blank"
          autoComplete="off"
          value={values}
          onChange={(event) => {
            setValues(event.currentTarget.value);
          }}
        />
        <Button
          variant="default"
          disabled={!column}
          onClick={() => {
            const list = values.split(',').map((value) => value.trim());
            onChange([...conditions, { column, values: list, not }]);
            setColumn('');
            setValues('');
          }}
        >
          Add<span className="visually-hidden"> this condition</span>
        </Button>
      </div>
    </details>
  );
}
