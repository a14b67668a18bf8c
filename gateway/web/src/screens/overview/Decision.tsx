import { Button } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import type { Schema } from '../../api/client';
import { useMay } from '../../api/queries';
import { useDecide } from '../../api/syncs';
import { Choice } from '../../components/Choice';
import { KindHeadings } from '../../components/KindHeadings';
import { ErrorState } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { changeKinds, changesIn, changesInWords, sumOf } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { formatNumber, plural } from '../../lib/format';

type Part = 'all' | 'without-removals' | 'schools';

/** What can be decided about a plan that waits: all of it, a part of it, or nothing. */
export function DecisionForm({ sync }: { sync: Schema['Sync'] }) {
  const { id: district } = useDistrict();
  const mayApprove = useMay('syncs.approve');
  const decide = useDecide(district, sync.syncId ?? '');
  const [part, setPart] = useState<Part>('all');
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [nothingChosen, setNothingChosen] = useState(false);
  // A source is removed as a whole or not at all.
  const whole = sync.removesSource;
  const schools = sync.schools ?? [];
  const removals = sumOf(sync.counts, 'removed');
  const all = changesIn(sync.counts);

  if (!mayApprove) {
    return <p className="soft">Somebody who may approve syncs has to decide about this one.</p>;
  }
  const approve = (event: FormEvent) => {
    event.preventDefault();
    const none = part === 'schools' && chosen.size === 0;
    setNothingChosen(none);
    if (none) return;
    decide.mutate({
      verb: 'approve',
      choice: {
        digest: sync.digest,
        ...(part === 'schools'
          ? { schools: [...chosen] }
          : { withoutRemovals: part === 'without-removals' }),
      },
    });
  };
  const of = (choice: Part) => ({
    name: 'part',
    chosen: part === choice,
    onChoose: () => {
      setPart(choice);
    },
  });
  return (
    <form className="card panel decision" aria-label="Decide about this sync" onSubmit={approve}>
      <fieldset className="choices">
        <legend>What should be applied?</legend>
        <Choice {...of('all')} label="Everything">
          {changesInWords(sync.counts)}, exactly as listed below
        </Choice>
        {!whole && removals > 0 && removals < all && (
          <Choice {...of('without-removals')} label="Everything except removals">
            {plural(removals, 'removal is', 'removals are')} left out, and what depends on them
          </Choice>
        )}
        {!whole && schools.length > 1 && (
          <Choice {...of('schools')} label="Only chosen schools">
            What touches another school is left out
          </Choice>
        )}
      </fieldset>
      {part === 'schools' && (
        <SchoolChoice
          schools={schools}
          chosen={chosen}
          error={nothingChosen && chosen.size === 0}
          onChoose={setChosen}
        />
      )}
      {part !== 'all' && (
        <p className="left-out">
          <strong>What is left out</strong> stays as it is now. It is not forgotten: the next sync
          of this source plans it again, and may wait for you again.
          {part === 'schools' &&
            ' A change that belongs to several schools is applied only if you choose all of them; one that belongs to no school is applied, unless it is a removal.'}
        </p>
      )}
      {decide.isError && <ErrorState error={decide.error} />}
      <div className="decision-actions">
        <Button type="submit" loading={decide.isPending}>
          {part === 'all' ? `Approve ${plural(all, 'change', 'changes')}` : 'Approve this part'}
        </Button>
        <Button
          variant="default"
          disabled={decide.isPending}
          onClick={() => {
            decide.mutate({ verb: 'discard' });
          }}
        >
          Discard the sync
        </Button>
        <span className="soft">
          {whole
            ? 'Discarding keeps the source and its records.'
            : 'Discarding changes nothing; sync again with a corrected export.'}
        </span>
      </div>
    </form>
  );
}

interface SchoolChoiceProps {
  schools: Schema['SchoolChanges'][];
  chosen: ReadonlySet<string>;
  error: boolean;
  onChoose: (chosen: ReadonlySet<string>) => void;
}

function SchoolChoice({ schools, chosen, error, onChoose }: SchoolChoiceProps) {
  const ids = schools.map((school) => school.schoolId ?? '');
  const everyOne = ids.every((id) => chosen.has(id));
  const toggle = (id: string) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    onChoose(next);
  };
  return (
    <div className="school-choice">
      {error && (
        <p className="field-error" role="alert">
          Choose at least one school.
        </p>
      )}
      <TableScroll label="Changes by school">
        <table className="table change-counts">
          <thead>
            <tr>
              <th scope="col">
                <label className="tick">
                  <input
                    type="checkbox"
                    checked={everyOne}
                    onChange={() => {
                      onChoose(new Set(everyOne ? [] : ids));
                    }}
                  />
                  All schools
                </label>
              </th>
              <KindHeadings />
            </tr>
          </thead>
          <tbody>
            {schools.map((school) => {
              const id = school.schoolId ?? '';
              return (
                <tr key={id}>
                  <th scope="row">
                    <label className="tick">
                      <input
                        type="checkbox"
                        checked={chosen.has(id)}
                        onChange={() => {
                          toggle(id);
                        }}
                      />
                      {school.name || id}
                    </label>
                  </th>
                  {changeKinds.map((kind) => (
                    <td key={kind.id} className="number">
                      {formatNumber(school[kind.id])}
                    </td>
                  ))}
                </tr>
              );
            })}
          </tbody>
        </table>
      </TableScroll>
      <p className="soft" role="status">
        {formatNumber(chosen.size)} of {plural(ids.length, 'school', 'schools')} chosen
      </p>
    </div>
  );
}

/** What an approval has left out; said once it is known. */
export function Withheld({ sync }: { sync: Schema['Sync'] }) {
  const withheld = Object.values(sync.counts ?? {}).reduce(
    (sum, counts) => sum + (counts.withheld ?? 0),
    0,
  );
  if (withheld === 0) return null;
  return (
    <div className="notice notice-neutral">
      <div>
        <p className="notice-title">
          {plural(withheld, 'change was', 'changes were')} left out by the approval
        </p>
        <p>
          These records stay as they were. The next sync of this source plans the changes again, if
          the source still has them.
        </p>
      </div>
    </div>
  );
}

/** Stops a sync that has not begun to save. */
export function CancelSync({ sync }: { sync: Schema['Sync'] }) {
  const { id: district } = useDistrict();
  const mayRun = useMay('syncs.run');
  const decide = useDecide(district, sync.syncId ?? '');
  if (!mayRun) return null;
  return (
    <>
      {decide.isError && <ErrorState error={decide.error} />}
      <Button
        variant="default"
        size="xs"
        loading={decide.isPending}
        onClick={() => {
          decide.mutate({ verb: 'cancel' });
        }}
      >
        Cancel this sync
      </Button>
    </>
  );
}
