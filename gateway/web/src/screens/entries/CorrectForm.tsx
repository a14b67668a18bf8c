import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import type { AnyRecord, Entity } from '../../lib/entities';
import { asRecord, correctable, entryRecord, textOf, withTexts } from '../../lib/entries';
import { screens } from '../../lib/urls';
import { useSaveEntry } from './EntryScreen';

interface CorrectFormProps {
  source: string;
  entity: Entity;
  id: string;
  /** What is entered already. */
  entry?: Schema['ManualEntry'];
  /** The record as the roster has it, where the entry only corrects it. */
  stored?: AnyRecord;
}

/** Fields of one record, each with who wins where a source has a value, too. */
export function CorrectForm({ source, entity, id, entry, stored }: CorrectFormProps) {
  const { id: district } = useDistrict();
  const { save, isPending, error } = useSaveEntry(source);
  const entered = entry && entryRecord(entry)?.record;
  const fields = correctable[entity];
  const [texts, setTexts] = useState<Record<string, string>>(
    Object.fromEntries(fields.map(({ name }) => [name, textOf(entered, name)])),
  );
  const [yields, setYields] = useState(entry?.sourceWins ?? []);
  const correction = entry?.correction ?? true;
  const nothing = correction && fields.every(({ name }) => !texts[name]?.trim()) && !entered;
  return (
    <form
      className="card panel entry-form"
      aria-label={correction ? 'Correction' : 'Entry'}
      onSubmit={(event) => {
        event.preventDefault();
        const record = withTexts({ ...entered, sourcedId: id }, texts);
        save({
          record: asRecord(entity, record),
          correction,
          // A field that is not entered has nobody to yield to.
          sourceWins: yields.filter((name) => name.includes('.') || record[name] !== undefined),
          etag: entry?.etag,
        });
      }}
    >
      {correction && (
        <p className="soft">Leave empty what is right. The source wins where you say so.</p>
      )}
      {fields.map(({ name, label, type }) => {
        const now = textOf(stored, name);
        const value = texts[name] ?? '';
        return (
          <div key={name} className="entry-field">
            <TextInput
              type={type}
              label={label}
              description={correction ? (now ? `Now: ${now}` : 'Now: nothing') : undefined}
              autoComplete="off"
              value={value}
              onChange={(event) => {
                setTexts({ ...texts, [name]: event.currentTarget.value });
              }}
            />
            <label className="tick">
              <input
                type="checkbox"
                disabled={!value.trim()}
                checked={yields.includes(name)}
                onChange={(event) => {
                  setYields(
                    event.currentTarget.checked
                      ? [...yields, name]
                      : yields.filter((other) => other !== name),
                  );
                }}
              />
              <span>
                Source wins if it has a value
                <span className="visually-hidden"> of {label}</span>
              </span>
            </label>
          </div>
        );
      })}
      {error && <ErrorState error={error} />}
      <div className="decision-actions">
        <Button type="submit" disabled={nothing} loading={isPending}>
          Save
        </Button>
        <Button component={Link} variant="default" to={screens.source(district, source)}>
          Back
        </Button>
      </div>
    </form>
  );
}
