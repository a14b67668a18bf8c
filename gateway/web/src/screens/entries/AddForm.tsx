import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useOrgs } from '../../api/queries';
import { Removable } from '../../components/Removable';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { roleLabel } from '../../lib/entities';
import {
  type Addition,
  additions,
  asRecord,
  entryRecord,
  newId,
  textOf,
  withTexts,
} from '../../lib/entries';
import { screens } from '../../lib/urls';
import { useSaveEntry } from './EntryScreen';
import { FindRecords, type Found } from './FindRecords';

type Both = Schema['User'] & Schema['Class'];

interface AddFormProps {
  source: string;
  add: Addition;
  /** What was entered before; absent for a new record. */
  entry?: Schema['ManualEntry'];
}

/** A small form for what no source delivers. */
export function AddForm({ source, add, entry }: AddFormProps) {
  const { id: district } = useDistrict();
  const orgs = useOrgs(district);
  const { save, isPending, error } = useSaveEntry(source);
  const { entity, fields, roles } = additions[add];
  const before = entry && entryRecord(entry)?.record;
  // Of a user or a class, whichever it is.
  const { roles: had = [], agents = [], school: at, classType } = (before ?? {}) as Both;
  const [texts, setTexts] = useState<Record<string, string>>(
    Object.fromEntries(fields.map(({ name }) => [name, textOf(before, name)])),
  );
  const [id, setId] = useState(() => before?.sourcedId ?? newId());
  const [school, setSchool] = useState((had[0]?.org ?? at)?.sourcedId ?? '');
  const [role, setRole] = useState<string>(had[0]?.role ?? roles[0] ?? '');
  const [homeroom, setHomeroom] = useState(classType === 'homeroom');
  const [contactType, setContactType] = useState(agents[0]?.contactType || 'guardian');
  const [children, setChildren] = useState<Found[]>(
    agents.map(({ sourcedId = '' }) => ({ id: sourcedId, name: '' })),
  );
  const roleChoices =
    role && !(roles as readonly string[]).includes(role) ? [role, ...roles] : roles;

  const submit = () => {
    const record = withTexts({ ...before, sourcedId: id.trim() }, texts);
    if (add === 'class') {
      record.school = { sourcedId: school };
      record.classType = homeroom ? 'homeroom' : 'scheduled';
    } else {
      const org = { sourcedId: school };
      record.roles = [{ ...had[0], roleType: 'primary', role, org }, ...had.slice(1)];
      record.primaryOrg = org;
      record.enabledUser = true;
    }
    if (add === 'guardian') {
      record.agents = children.map((child) => ({
        ...agents.find(({ sourcedId }) => sourcedId === child.id),
        sourcedId: child.id,
        contactType,
      }));
    }
    save({
      record: asRecord(entity, record),
      correction: false,
      sourceWins: entry?.sourceWins,
      etag: entry?.etag,
    });
  };
  return (
    <form
      className="card panel entry-form"
      aria-label={entry ? 'Entry' : additions[add].title}
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <div className="fields">
        {fields.map((field) => (
          <TextInput
            key={field.name}
            type={'type' in field ? field.type : undefined}
            label={field.label}
            required={'required' in field}
            autoComplete="off"
            value={texts[field.name] ?? ''}
            onChange={(event) => {
              setTexts({ ...texts, [field.name]: event.currentTarget.value });
            }}
          />
        ))}
        {roles.length > 0 && (
          <NativeSelect
            label="Role"
            value={role}
            onChange={(event) => {
              setRole(event.currentTarget.value);
            }}
          >
            {roleChoices.map((choice) => (
              <option key={choice} value={choice}>
                {roleLabel(choice)}
              </option>
            ))}
          </NativeSelect>
        )}
        <NativeSelect
          label="School"
          required
          value={school}
          onChange={(event) => {
            setSchool(event.currentTarget.value);
          }}
        >
          <option value="">Choose a school</option>
          {[...(orgs.data?.values() ?? [])]
            // Whoever works for the district has no school.
            .filter((org) => add === 'staff' || org.type === 'school')
            .map((org) => (
              <option key={org.sourcedId} value={org.sourcedId}>
                {org.name || org.sourcedId}
              </option>
            ))}
        </NativeSelect>
        {add === 'class' && (
          <NativeSelect
            label="Type"
            value={homeroom ? 'homeroom' : 'scheduled'}
            onChange={(event) => {
              setHomeroom(event.currentTarget.value === 'homeroom');
            }}
          >
            <option value="scheduled">Scheduled class</option>
            <option value="homeroom">Homeroom</option>
          </NativeSelect>
        )}
        {add === 'guardian' && (
          <NativeSelect
            label="Kind of contact"
            value={contactType}
            onChange={(event) => {
              setContactType(event.currentTarget.value);
            }}
          >
            <option value="guardian">Guardian</option>
            <option value="parent">Parent</option>
            <option value="emergency">Emergency contact</option>
          </NativeSelect>
        )}
      </div>
      {orgs.isError && <ErrorState error={orgs.error} onRetry={() => void orgs.refetch()} />}
      {add === 'guardian' && (
        <fieldset>
          <legend>Whose guardian?</legend>
          <Removable
            items={children}
            words={({ name, id: of }) => (name ? `${name} (${of})` : of)}
            onChange={setChildren}
          />
          <FindRecords
            label="Find students"
            entity="users"
            search={{ role: 'student' }}
            taken={children}
            onAdd={(child) => {
              setChildren([...children, child]);
            }}
          />
        </fieldset>
      )}
      <fieldset>
        <legend>Securly Internal ID</legend>
        <TextInput
          aria-label="Securly Internal ID"
          description="Stays the same for good. If a source delivers this record some day, use the id that it has there."
          required
          disabled={entry !== undefined}
          maxLength={255}
          autoComplete="off"
          spellCheck={false}
          value={id}
          onChange={(event) => {
            setId(event.currentTarget.value);
          }}
        />
      </fieldset>
      {error && <ErrorState error={error} />}
      <div className="decision-actions">
        <Button type="submit" loading={isPending}>
          Save
        </Button>
        <Button component={Link} variant="default" to={screens.source(district, source)}>
          Back
        </Button>
      </div>
    </form>
  );
}
