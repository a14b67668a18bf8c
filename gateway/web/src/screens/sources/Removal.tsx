import { Button } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { useNavigate } from 'react-router';
import type { Schema } from '../../api/client';
import { useRemoveSource } from '../../api/sources';
import { Choice } from '../../components/Choice';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { screens } from '../../lib/urls';

/** Stops a source for good: with its records as they are, or without them. */
export function Removal({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  const id = source.sourceId ?? '';
  const navigate = useNavigate();
  const remove = useRemoveSource(district, id);
  const [records, setRecords] = useState<'freeze' | 'remove' | ''>('');
  const frozen = source.stopped?.frozen;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!records) return;
    remove.mutate(records, {
      onSuccess: ({ sync }) => {
        void navigate(
          records === 'freeze'
            ? screens.source(district, id)
            : sync?.syncId
              ? screens.sync(district, sync.syncId)
              : screens.sources(district),
        );
      },
    });
  };
  return (
    <section aria-labelledby="removal">
      <h2 id="removal">Stop using this source</h2>
      <form className="card panel" aria-label="Stop using this source" onSubmit={submit}>
        <fieldset className="choices">
          <legend>What becomes of its records?</legend>
          {!frozen && (
            <Choice
              name="records"
              label="They stay as they are"
              chosen={records === 'freeze'}
              onChoose={() => {
                setRecords('freeze');
              }}
            >
              The source stops, and its passwords and keys are forgotten. You can start it again
              later.
            </Choice>
          )}
          <Choice
            name="records"
            label="They are removed, and the source with them"
            chosen={records === 'remove'}
            onChoose={() => {
              setRecords('remove');
            }}
          >
            You see what would be removed, record by record, and approve it before it happens.
          </Choice>
        </fieldset>
        {remove.isError && <ErrorState error={remove.error} />}
        <Button type="submit" variant="default" disabled={!records} loading={remove.isPending}>
          {records === 'remove' ? 'Show what would be removed' : 'Stop this source'}
        </Button>
      </form>
    </section>
  );
}
