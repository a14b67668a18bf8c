import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import { useOrgs } from '../../api/queries';
import { Removable } from '../../components/Removable';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { roleLabel } from '../../lib/entities';
import { type Addition, additions, asRecord, withTexts } from '../../lib/entries';
import { screens } from '../../lib/urls';
import { useSaveEntry } from './EntryScreen';
import { type Child, FindStudents } from './FindStudents';

/** A small form for what no source delivers. */
export function AddForm({ source, add }: { source: string; add: Addition }) {
  const { id: district } = useDistrict();
  const orgs = useOrgs(district);
  const { save, isPending, error } = useSaveEntry(source);
  const { entity, fields, roles } = additions[add];
  const [texts, setTexts] = useState<Record<string, string>>({});
  const [id, setId] = useState(() => `by-hand-${crypto.randomUUID()}`);
  const [school, setSchool] = useState('');
  const [role, setRole] = useState<string>(roles[0] ?? '');
  const [homeroom, setHomeroom] = useState(false);
  const [contactType, setContactType] = useState('guardian');
  const [children, setChildren] = useState<Child[]>([]);

  const submit = () => {
    const record = withTexts({ sourcedId: id.trim() }, texts);
    if (add === 'class') {
      record.school = { sourcedId: school };
      record.classType = homeroom ? 'homeroom' : 'scheduled';
    } else {
      record.roles = [{ roleType: 'primary', role, org: { sourcedId: school } }];
      record.enabledUser = true;
    }
    if (add === 'guardian') {
      record.agents = children.map((child) => ({ sourcedId: child.id, contactType }));
    }
    save({ record: asRecord(entity, record), correction: false });
  };
  return (
    <form
      className="card panel entry-form"
      aria-label={additions[add].title}
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
            {roles.map((choice) => (
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
            words={({ name, id: of }) => `${name} (${of})`}
            onChange={setChildren}
          />
          <FindStudents
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
