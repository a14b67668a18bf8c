import { Button, NativeSelect, Textarea } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import { ApiError, type Schema } from '../../api/client';
import { useMay } from '../../api/queries';
import { useSharingPreview } from '../../api/sharing';
import { useUpdateSource } from '../../api/sources';
import { Removable } from '../../components/Removable';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { roleLabel } from '../../lib/entities';
import { formatNumber, plural } from '../../lib/format';
import { screens } from '../../lib/urls';
import { SharingPreview } from './SharingPreview';

type Sharing = Schema['Sharing'];

/** Whether two settings say the same: what is empty says nothing. */
function same(a: Sharing, b: Sharing): boolean {
  const said = (sharing: Sharing) =>
    JSON.stringify(
      Object.entries(sharing)
        .filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value))
        .sort(([left], [right]) => left.localeCompare(right)),
    );
  return said(a) === said(b);
}

/** Which records of a source become part of the roster, tried before it is saved. */
export function SharingForm({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const saved = source.sharing ?? {};
  const [sharing, setSharing] = useState<Sharing>(saved);
  // What was asked for last; the form may be ahead of it.
  const [tried, setTried] = useState<Sharing>(saved);
  const preview = useSharingPreview(district, id, tried);
  const update = useUpdateSource(district, id);
  const mayChange = useMay('sources.write');
  const choices = preview.data?.choices;
  const changed = !same(sharing, saved);

  if (!mayChange) return <p className="soft">Your account may not change what is shared.</p>;
  if (!preview.data || !choices) {
    if (preview.isPending) return <LoadingLines label="Looking at what the source has" lines={8} />;
    return preview.error instanceof ApiError && preview.error.reason === 'SOURCE_NOT_SYNCED' ? (
      <EmptyState title="There is nothing to choose from yet">
        <p>Sync the source first; then you see what it has, and what your choice keeps.</p>
      </EmptyState>
    ) : (
      preview.error && <ErrorState error={preview.error} onRetry={() => void preview.refetch()} />
    );
  }
  const set = (part: Sharing) => {
    setSharing({ ...sharing, ...part });
  };
  return (
    <form
      aria-label="What is shared"
      onSubmit={(event) => {
        event.preventDefault();
        update.mutate({ sharing, etag: source.etag });
      }}
    >
      <p>
        Everything that this source delivers becomes part of your roster, unless you choose less
        here. Staff of the whole district always stay.
      </p>
      <Fields sharing={sharing} choices={choices} onChange={set} />
      <section aria-labelledby="preview" aria-busy={preview.isFetching}>
        <h2 id="preview">What this keeps</h2>
        {preview.isError ? (
          <ErrorState error={preview.error} />
        ) : (
          <SharingPreview counts={preview.data.counts ?? {}} stale={!same(sharing, tried)} />
        )}
        <Button
          variant="default"
          disabled={same(sharing, tried)}
          loading={preview.isFetching}
          onClick={() => {
            setTried(sharing);
          }}
        >
          Show what this keeps
        </Button>
      </section>
      <div className="save-bar">
        {update.isError && <ErrorState error={update.error} />}
        <div className="decision-actions">
          <Button type="submit" disabled={!changed} loading={update.isPending}>
            Save changes
          </Button>
          <Button
            variant="default"
            disabled={same(sharing, {})}
            onClick={() => {
              setSharing({});
              setTried({});
            }}
          >
            Share everything
          </Button>
          <span className="soft" role="status">
            {changed ? (
              'There are changes that are not saved. Saving starts a sync, which waits for you if it would change too much.'
            ) : (
              <>
                Everything is saved. <Link to={screens.source(district, id)}>See the status</Link>
              </>
            )}
          </span>
        </div>
      </div>
    </form>
  );
}

interface FieldsProps {
  sharing: Sharing;
  choices: Schema['SharingChoices'];
  onChange: (part: Sharing) => void;
}

function Fields({ sharing, choices, onChange }: FieldsProps) {
  const schools = (choices.schools ?? []).map((school) => ({
    id: school.schoolId ?? '',
    label: school.name || (school.schoolId ?? ''),
  }));
  const name = (id: string | undefined) => schools.find((school) => school.id === id)?.label ?? id;
  const counted = (counts: Record<string, number> = {}, one: string, many: string) =>
    Object.entries(counts).map(([id, count]) => ({
      id,
      label: roleLabel(id),
      note: plural(count, one, many),
    }));
  return (
    <>
      <div className="columns">
        <TickList
          legend="Schools"
          none="All schools"
          options={schools}
          chosen={sharing.schools ?? []}
          onChange={(next) => {
            onChange({ schools: next });
          }}
        />
        <TickList
          legend="Grades of students"
          none="All grades"
          options={counted(choices.grades, 'student', 'students')}
          chosen={sharing.grades ?? []}
          onChange={(next) => {
            onChange({ grades: next });
          }}
        />
        <TickList
          legend="Types of classes"
          none="All types"
          options={counted(choices.classTypes, 'class', 'classes')}
          chosen={sharing.classTypes ?? []}
          onChange={(next) => {
            onChange({ classTypes: next });
          }}
        />
        <TickList
          legend="Contacts of students"
          none="All contacts"
          options={contactTypes}
          chosen={sharing.contactTypes ?? []}
          onChange={(next) => {
            onChange({ contactTypes: next });
          }}
        />
      </div>
      <section aria-labelledby="more">
        <h2 id="more">More</h2>
        <label className="tick choice-line">
          <input
            type="checkbox"
            checked={sharing.primarySchoolOnly ?? false}
            onChange={(event) => {
              onChange({ primarySchoolOnly: event.currentTarget.checked });
            }}
          />
          Students belong to their primary school only
        </label>
        <Textarea
          label="Only these classes"
          description="Ids, one on each line, in addition to the chosen types. Empty: as the types say"
          className="class-ids"
          rows={3}
          spellCheck={false}
          value={(sharing.classes ?? []).join('\n')}
          onChange={(event) => {
            const ids = event.currentTarget.value.split('\n');
            onChange({ classes: ids.length === 1 && ids[0] === '' ? [] : ids });
          }}
        />
      </section>
      <section aria-labelledby="merges">
        <h2 id="merges">Schools that become part of another</h2>
        <Removable
          items={sharing.mergeSchools ?? []}
          words={(merge) => `${name(merge.from) ?? ''} becomes part of ${name(merge.into) ?? ''}`}
          onChange={(next) => {
            onChange({ mergeSchools: next });
          }}
        />
        <AddMerge
          schools={schools}
          onAdd={(merge) => {
            onChange({ mergeSchools: [...(sharing.mergeSchools ?? []), merge] });
          }}
        />
      </section>
    </>
  );
}

interface Option {
  id: string;
  label: string;
  note?: string;
}

const contactTypes: readonly Option[] = [
  { id: 'parent', label: 'Parents' },
  { id: 'guardian', label: 'Guardians' },
  { id: 'emergency', label: 'Emergency contacts' },
];

interface TickListProps {
  legend: string;
  /** What it means that nothing is chosen. */
  none: string;
  options: readonly Option[];
  chosen: readonly string[];
  onChange: (chosen: string[]) => void;
}

/** Some of many; none means all. What is chosen stays in sight even if the source lost it. */
function TickList({ legend, none, options, chosen, onChange }: TickListProps) {
  const lost = chosen
    .filter((id) => !options.some((option) => option.id === id))
    .map((id): Option => ({ id, label: id, note: 'not delivered' }));
  const all = [...options, ...lost];
  return (
    <fieldset className="card panel tick-list">
      <legend>{legend}</legend>
      <p className="soft" role="status">
        {chosen.length === 0
          ? `${none} are shared.`
          : `${formatNumber(chosen.length)} of ${formatNumber(all.length)} chosen.`}
      </p>
      <ul className="plain">
        {all.map(({ id, label, note }) => (
          <li key={id}>
            <label className="tick">
              <input
                type="checkbox"
                checked={chosen.includes(id)}
                onChange={(event) => {
                  onChange(
                    event.currentTarget.checked
                      ? [...chosen, id]
                      : chosen.filter((other) => other !== id),
                  );
                }}
              />
              <span>
                {label} {note && <span className="soft">({note})</span>}
              </span>
            </label>
          </li>
        ))}
      </ul>
    </fieldset>
  );
}

interface AddMergeProps {
  schools: readonly Option[];
  onAdd: (merge: Schema['SchoolMerge']) => void;
}

function AddMerge({ schools, onAdd }: AddMergeProps) {
  const [from, setFrom] = useState('');
  const [into, setInto] = useState('');
  const choice = (label: string, value: string, not: string, choose: (id: string) => void) => (
    <NativeSelect
      label={label}
      value={value}
      onChange={(event) => {
        choose(event.currentTarget.value);
      }}
    >
      <option value="">Choose a school</option>
      {schools
        .filter((school) => school.id !== not)
        .map((school) => (
          <option key={school.id} value={school.id}>
            {school.label}
          </option>
        ))}
    </NativeSelect>
  );
  return (
    <div className="filters">
      {choice('This school', from, into, setFrom)}
      {choice('becomes part of', into, from, setInto)}
      <Button
        variant="default"
        disabled={!from || !into}
        onClick={() => {
          onAdd({ from, into });
          setFrom('');
          setInto('');
        }}
      >
        Add<span className="visually-hidden"> these schools</span>
      </Button>
    </div>
  );
}
