import { Button, NativeSelect } from '@mantine/core';
import { useState } from 'react';
import { Link, useNavigate } from 'react-router';
import type { Schema } from '../../api/client';
import { usePutEntry } from '../../api/entries';
import { Removable } from '../../components/Removable';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { asRecord, newId } from '../../lib/entries';
import { screens } from '../../lib/urls';
import { FindRecords, type Found } from './FindRecords';

const words = ({ name, id }: Found) => `${name} (${id})`;

/** Puts people of the roster into a class of it: an entry for each of them. */
export function MembersForm({ source }: { source: string }) {
  const { id: district } = useDistrict();
  const navigate = useNavigate();
  const put = usePutEntry(district, source);
  const [of, setClass] = useState<Found[]>([]);
  const [people, setPeople] = useState<Found[]>([]);
  const [role, setRole] = useState('student');
  const chosen = of[0];
  const save = async () => {
    for (const person of people) {
      await put.mutateAsync({
        record: asRecord('enrollments', {
          sourcedId: newId(),
          user: { sourcedId: person.id },
          class: { sourcedId: chosen?.id },
          school: (chosen?.record as Schema['Class'] | undefined)?.school,
          role,
        }),
      });
      // What is entered is not entered again if a later one is refused.
      setPeople((left) => left.filter((other) => other !== person));
    }
    await navigate(screens.source(district, source));
  };
  return (
    <form
      className="card panel entry-form"
      aria-label="Put people into a class"
      onSubmit={(event) => {
        event.preventDefault();
        // The state of the mutation says what went wrong.
        save().catch(() => undefined);
      }}
    >
      <fieldset>
        <legend>Which class?</legend>
        <Removable items={of} words={words} onChange={setClass} />
        {!chosen && (
          <>
            <p className="soft">A class that was added by hand is found once it is applied.</p>
            <FindRecords
              label="Find a class"
              entity="classes"
              taken={of}
              onAdd={(found) => {
                setClass([found]);
              }}
            />
          </>
        )}
      </fieldset>
      <fieldset>
        <legend>Who?</legend>
        <Removable items={people} words={words} onChange={setPeople} />
        <FindRecords
          label="Find people"
          entity="users"
          taken={people}
          onAdd={(found) => {
            setPeople([...people, found]);
          }}
        />
        <NativeSelect
          label="As"
          value={role}
          onChange={(event) => {
            setRole(event.currentTarget.value);
          }}
        >
          <option value="student">Student</option>
          <option value="teacher">Teacher</option>
          <option value="aide">Aide</option>
        </NativeSelect>
      </fieldset>
      {put.isError && <ErrorState error={put.error} />}
      <div className="decision-actions">
        <Button type="submit" disabled={!chosen || people.length === 0} loading={put.isPending}>
          Save
        </Button>
        <Button component={Link} variant="default" to={screens.source(district, source)}>
          Back
        </Button>
      </div>
    </form>
  );
}
