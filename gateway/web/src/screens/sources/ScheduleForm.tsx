import { Button, TextInput } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import type { Schema } from '../../api/client';
import { useMay } from '../../api/queries';
import { useUpdateSource } from '../../api/sources';
import { Removable } from '../../components/Removable';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { formatDate, formatDateTime } from '../../lib/format';
import { clockTime, daysInWords, weekdays } from '../../lib/schedule';
import type { SourceProps } from './SourceScreen';

/** When a source is synced by itself, and when its silence is worth a word. */
export function ScheduleForm({ source, connector }: SourceProps) {
  const { id: district, timeZone } = useDistrict();
  const update = useUpdateSource(district, source.sourceId ?? '');
  const mayChange = useMay('sources.write');
  const [schedule, setSchedule] = useState(source.schedule ?? null);
  const [hours, setHours] = useState(String(source.staleAfterHours || ''));
  const changed =
    JSON.stringify(schedule) !== JSON.stringify(source.schedule ?? null) ||
    hours !== String(source.staleAfterHours || '');
  const fetches = connector.kind === 'pull';

  const save = (event: FormEvent) => {
    event.preventDefault();
    update.mutate({
      ...(fetches && { schedule }),
      staleAfterHours: Number(hours),
      etag: source.etag,
    });
  };
  return (
    <form onSubmit={save} aria-label="Schedule">
      <fieldset className="settings" disabled={!mayChange}>
        <legend className="visually-hidden">Schedule</legend>
        {fetches ? (
          <Times schedule={schedule} onChange={setSchedule} />
        ) : (
          <p>
            {connector.kind === 'drop'
              ? 'A sync starts by itself when files have arrived, so there is nothing to plan.'
              : 'Packages are brought by hand or by a program, so there is nothing to plan.'}
          </p>
        )}
        <section aria-labelledby="stale">
          <h2 id="stale">When nothing new comes</h2>
          <p className="soft">
            A source that has brought nothing new for this long is shown as stale. Leave it empty
            for {fetches ? '48 hours if there is a schedule, and' : ''} never
            {fetches ? ' if there is none' : ''}.
          </p>
          <div className="filters">
            <TextInput
              type="number"
              min={1}
              max={8784}
              label="Hours without new data"
              placeholder={schedule ? '48' : undefined}
              value={hours}
              onChange={(event) => {
                setHours(event.currentTarget.value);
              }}
            />
          </div>
        </section>
        <div className="save-bar">
          {update.isError && <ErrorState error={update.error} />}
          <div className="decision-actions">
            <Button type="submit" disabled={!changed} loading={update.isPending}>
              Save the schedule
            </Button>
            <span className="soft" role="status">
              {changed
                ? 'There are changes that are not saved.'
                : source.nextRunTime
                  ? `Saved. The next sync starts ${formatDateTime(source.nextRunTime, timeZone)}.`
                  : 'Everything is saved.'}
            </span>
          </div>
        </div>
      </fieldset>
    </form>
  );
}

interface TimesProps {
  schedule: Schema['Schedule'] | null;
  onChange: (schedule: Schema['Schedule'] | null) => void;
}

function Times({ schedule, onChange }: TimesProps) {
  const { timeZone } = useDistrict();
  const times = schedule?.times ?? [];
  return (
    <>
      <fieldset className="choices">
        <legend>How do syncs start?</legend>
        <label className="tick choice-line">
          <input
            type="radio"
            name="schedule"
            checked={schedule === null}
            onChange={() => {
              onChange(null);
            }}
          />
          Only by hand
        </label>
        <label className="tick choice-line">
          <input
            type="radio"
            name="schedule"
            checked={schedule !== null}
            onChange={() => {
              onChange({ times: ['02:30'] });
            }}
          />
          By themselves, at set times
        </label>
      </fieldset>
      {schedule && (
        <>
          <section aria-labelledby="times">
            <h2 id="times">Times of day</h2>
            <p className="soft">
              By the clocks of your district ({timeZone}). At least an hour after your export is
              best.
            </p>
            <Removable
              items={times}
              words={clockTime}
              onChange={(next) => {
                onChange({ ...schedule, times: next });
              }}
            />
            <AddTime
              onAdd={(time) => {
                if (!times.includes(time)) {
                  onChange({ ...schedule, times: [...times, time].sort() });
                }
              }}
            />
            <Weekdays
              legend="On these days"
              chosen={schedule.weekdays ?? []}
              onChange={(next) => {
                onChange({ ...schedule, weekdays: next });
              }}
            />
          </section>
          <section aria-labelledby="dates">
            <h2 id="dates">Days without a sync</h2>
            <p className="soft">Holidays, or the days on which your system rolls over.</p>
            <Removable
              items={schedule.blackoutDates ?? []}
              words={(dates) =>
                [dates.firstDate, dates.lastDate]
                  .filter((day, index) => day && (index === 0 || day !== dates.firstDate))
                  .map(formatDate)
                  .join(' to ')
              }
              onChange={(next) => {
                onChange({ ...schedule, blackoutDates: next });
              }}
            />
            <AddDates
              onAdd={(dates) => {
                onChange({
                  ...schedule,
                  blackoutDates: [...(schedule.blackoutDates ?? []), dates],
                });
              }}
            />
          </section>
          <section aria-labelledby="hours">
            <h2 id="hours">Hours without a sync</h2>
            <p className="soft">
              A sync that would start in these hours is left out, not made up for.
            </p>
            <Removable
              items={schedule.blackoutHours ?? []}
              words={(hours) =>
                `${daysInWords(hours.weekdays)}, ${clockTime(hours.startTime)} to ${clockTime(hours.endTime)}`
              }
              onChange={(next) => {
                onChange({ ...schedule, blackoutHours: next });
              }}
            />
            <AddHours
              onAdd={(hours) => {
                onChange({
                  ...schedule,
                  blackoutHours: [...(schedule.blackoutHours ?? []), hours],
                });
              }}
            />
          </section>
        </>
      )}
    </>
  );
}

interface WeekdaysProps {
  legend: string;
  chosen: readonly Schema['Weekday'][];
  onChange: (days: Schema['Weekday'][]) => void;
}

function Weekdays({ legend, chosen, onChange }: WeekdaysProps) {
  return (
    <fieldset className="weekdays">
      <legend>
        {legend} <span className="soft">(none means every day)</span>
      </legend>
      {weekdays.map(({ id, label }) => (
        <label key={id} className="tick">
          <input
            type="checkbox"
            checked={chosen.includes(id)}
            onChange={(event) => {
              const on = event.currentTarget.checked;
              onChange(
                weekdays
                  .map((day) => day.id)
                  .filter((day) => (day === id ? on : chosen.includes(day))),
              );
            }}
          />
          {label}
        </label>
      ))}
    </fieldset>
  );
}

function AddTime({ onAdd }: { onAdd: (time: string) => void }) {
  const [time, setTime] = useState('');
  return (
    <div className="filters">
      <TextInput
        type="time"
        label="Another time"
        value={time}
        onChange={(event) => {
          setTime(event.currentTarget.value);
        }}
      />
      <Button
        variant="default"
        disabled={!time}
        onClick={() => {
          onAdd(time);
          setTime('');
        }}
      >
        Add<span className="visually-hidden"> this time</span>
      </Button>
    </div>
  );
}

function AddDates({ onAdd }: { onAdd: (dates: Schema['BlackoutDates']) => void }) {
  const [firstDate, setFirst] = useState('');
  const [lastDate, setLast] = useState('');
  return (
    <div className="filters">
      <TextInput
        type="date"
        label="First day"
        value={firstDate}
        onChange={(event) => {
          setFirst(event.currentTarget.value);
        }}
      />
      <TextInput
        type="date"
        label="Last day"
        description="Empty: that one day"
        min={firstDate}
        value={lastDate}
        onChange={(event) => {
          setLast(event.currentTarget.value);
        }}
      />
      <Button
        variant="default"
        disabled={!firstDate}
        onClick={() => {
          onAdd({ firstDate, lastDate });
          setFirst('');
          setLast('');
        }}
      >
        Add<span className="visually-hidden"> these days</span>
      </Button>
    </div>
  );
}

function AddHours({ onAdd }: { onAdd: (hours: Schema['BlackoutHours']) => void }) {
  const [startTime, setStart] = useState('');
  const [endTime, setEnd] = useState('');
  const [days, setDays] = useState<Schema['Weekday'][]>([]);
  return (
    <>
      <Weekdays legend="Beginning on these days" chosen={days} onChange={setDays} />
      <div className="filters">
        <TextInput
          type="time"
          label="From"
          value={startTime}
          onChange={(event) => {
            setStart(event.currentTarget.value);
          }}
        />
        <TextInput
          type="time"
          label="To"
          description="On the next day if it is earlier"
          value={endTime}
          onChange={(event) => {
            setEnd(event.currentTarget.value);
          }}
        />
        <Button
          variant="default"
          disabled={!startTime || !endTime}
          onClick={() => {
            onAdd({ weekdays: days, startTime, endTime });
            setStart('');
            setEnd('');
            setDays([]);
          }}
        >
          Add<span className="visually-hidden"> these hours</span>
        </Button>
      </div>
    </>
  );
}
