import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import { usePause } from '../../api/sources';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { dayFromNow, startOfDay } from '../../lib/zone';

export function PauseForm({ source }: { source: string }) {
  const { id: district, timeZone } = useDistrict();
  const pause = usePause(district, source);
  const [day, setDay] = useState('');
  const [message, setMessage] = useState('');
  return (
    <section aria-labelledby="pause">
      <h2 id="pause">Pause</h2>
      <p className="soft">
        No sync of this source starts meanwhile, by itself or by hand. What it has brought stays.
      </p>
      <form
        className="card panel"
        onSubmit={(event) => {
          event.preventDefault();
          pause.mutate({ until: day ? startOfDay(day, timeZone) : undefined, message });
        }}
      >
        <div className="filters">
          <TextInput
            type="date"
            label="Goes on by itself on"
            description="Empty: when somebody resumes it"
            min={dayFromNow(1, timeZone)}
            value={day}
            onChange={(event) => {
              setDay(event.currentTarget.value);
            }}
          />
          <TextInput
            label="Why"
            description="For those who see the source"
            maxLength={200}
            autoComplete="off"
            value={message}
            onChange={(event) => {
              setMessage(event.currentTarget.value);
            }}
          />
          <Button type="submit" variant="default" loading={pause.isPending}>
            Pause this source
          </Button>
        </div>
        {pause.isError && <ErrorState error={pause.error} />}
      </form>
    </section>
  );
}
