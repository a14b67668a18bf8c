import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useOrgs } from '../../api/queries';
import { useDistrict } from '../../lib/district';
import {
  entities,
  type Entity,
  entityInfo,
  fieldsOf,
  isEntity,
  type Search,
  type SearchField,
} from '../../lib/entities';
import { roleChoices } from '../../lib/roles';

interface SearchFormProps {
  entity: Entity | undefined;
  search: Search;
  onView: (entity: Entity, search: Search) => void;
}

export function SearchForm({ entity, search, onView }: SearchFormProps) {
  const [chosen, setChosen] = useState<Entity>(entity ?? 'users');
  const [values, setValues] = useState<Search>(search);
  const fields = fieldsOf(chosen);

  const view = () => {
    const wanted: Search = {};
    for (const field of fields) {
      // Ids are compared byte for byte, yet a space around one is a slip of copy and paste.
      const value = values[field]?.trim();
      if (value) wanted[field] = value;
    }
    onView(chosen, wanted);
  };

  return (
    <form
      className="card panel search"
      role="search"
      aria-label="Search records"
      onSubmit={(event) => {
        event.preventDefault();
        view();
      }}
    >
      <div className="search-fields">
        <NativeSelect
          label="Entity"
          value={chosen}
          onChange={(event) => {
            const { value } = event.currentTarget;
            if (isEntity(value)) setChosen(value);
          }}
        >
          {entities.map(({ id, label }) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </NativeSelect>
        {fields.map((field) => (
          <Field
            key={`${chosen} ${field}`}
            entity={chosen}
            field={field}
            value={values[field] ?? ''}
            onChange={(value) => {
              setValues({ ...values, [field]: value });
            }}
          />
        ))}
      </div>
      <div className="search-actions">
        <Button type="submit">View Data</Button>
        <Button
          variant="default"
          onClick={() => {
            setValues({});
          }}
        >
          Clear
        </Button>
        <span className="soft">{entityInfo(chosen)?.description}</span>
      </div>
    </form>
  );
}

interface FieldProps {
  entity: Entity;
  field: SearchField;
  value: string;
  onChange: (value: string) => void;
}

const idLabels: Partial<Record<SearchField, string>> = {
  sourcedId: 'Securly Internal ID',
  orgId: 'Securly Internal Org ID',
  classId: 'Securly Internal Class ID',
  userId: 'Securly Internal User ID',
  email: 'Email',
  asOf: 'As of',
};

const placeholders: Partial<Record<SearchField, string>> = {
  q: 'Beginning of any word',
  asOf: 'Newest, or a revision or date: 42, 2026-09-30',
};

function Field({ entity, field, value, onChange }: FieldProps) {
  switch (field) {
    case 'role':
      return (
        <NativeSelect
          label={entity === 'demographics' ? 'Role of the user' : 'Role'}
          value={value}
          onChange={(event) => {
            onChange(event.currentTarget.value);
          }}
        >
          <option value="">Any role</option>
          {roleChoices(entity, value).map(({ id, label }) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </NativeSelect>
      );
    case 'status':
      return (
        <NativeSelect
          label="Status"
          value={value}
          onChange={(event) => {
            onChange(event.currentTarget.value);
          }}
        >
          <option value="">Any status</option>
          <option value="active">Active</option>
          <option value="tobedeleted">Removed</option>
        </NativeSelect>
      );
    case 'schoolId':
      return <SchoolField value={value} onChange={onChange} />;
    default:
      return (
        <TextInput
          label={field === 'q' ? entityInfo(entity)?.words : idLabels[field]}
          placeholder={placeholders[field] ?? 'Exact value'}
          value={value}
          onChange={(event) => {
            onChange(event.currentTarget.value);
          }}
          autoComplete="off"
          spellCheck={false}
        />
      );
  }
}

function SchoolField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const { id: district } = useDistrict();
  const orgs = useOrgs(district);
  const schools = [...(orgs.data?.values() ?? [])]
    .filter((org) => org.type === 'school' || org.sourcedId === value)
    .sort((a, b) => (a.name ?? '').localeCompare(b.name ?? ''));
  const known = !value || schools.some((school) => school.sourcedId === value);
  return (
    <NativeSelect
      label="School"
      value={value}
      error={orgs.isError ? 'The list of schools could not be loaded.' : undefined}
      onChange={(event) => {
        onChange(event.currentTarget.value);
      }}
    >
      <option value="">All schools</option>
      {!known && <option value={value}>{value}</option>}
      {schools.map((school) => (
        <option key={school.sourcedId} value={school.sourcedId}>
          {school.name || school.sourcedId}
        </option>
      ))}
    </NativeSelect>
  );
}
