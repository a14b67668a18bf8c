import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useSaveDistrict } from '../../api/district';
import { useMay } from '../../api/queries';
import { Removable } from '../../components/Removable';
import { SaveBar } from '../../components/SaveBar';
import { useDistrict } from '../../lib/district';
import { screens } from '../../lib/urls';

const usual: Record<string, string> = {
  'America/New_York': 'Eastern',
  'America/Chicago': 'Central',
  'America/Denver': 'Mountain',
  'America/Phoenix': 'Arizona',
  'America/Los_Angeles': 'Pacific',
  'America/Anchorage': 'Alaska',
  'Pacific/Honolulu': 'Hawaii',
};

/** The name and clocks of a district, its email domains, and how long things are kept. */
export function DistrictForm({ settings }: { settings: Schema['District'] }) {
  const { id: district } = useDistrict();
  const save = useSaveDistrict(district);
  const mayChange = useMay('districts.write');
  const saved = {
    displayName: settings.displayName ?? '',
    timeZone: settings.timeZone || 'UTC',
    emailDomains: settings.emailDomains ?? [],
    historyDays: String(settings.historyDays ?? ''),
    packageDays: String(settings.packageDays ?? ''),
  };
  const [form, setForm] = useState(saved);
  const set = (part: Partial<typeof saved>) => {
    setForm({ ...form, ...part });
  };
  const days = (name: 'historyDays' | 'packageDays', label: string, description: string) => (
    <TextInput
      type="number"
      label={label}
      description={description}
      min={1}
      required
      value={form[name]}
      onChange={(event) => {
        set({ [name]: event.currentTarget.value });
      }}
    />
  );
  return (
    <form
      aria-label="District"
      onSubmit={(event) => {
        event.preventDefault();
        const { historyDays, packageDays, ...texts } = form;
        save.mutate({
          ...texts,
          displayName: texts.displayName.trim(),
          // What was not touched is not sent: the days for packages follow those of the history.
          ...(historyDays !== saved.historyDays && { historyDays: Number(historyDays) }),
          ...(packageDays !== saved.packageDays && { packageDays: Number(packageDays) }),
          etag: settings.etag,
        });
      }}
    >
      <fieldset className="settings" disabled={!mayChange}>
        <legend className="visually-hidden">District</legend>
        <div className="columns">
          <section className="card panel" aria-labelledby="name">
            <h2 id="name">Name and clocks</h2>
            <div className="stack-wide">
              <TextInput
                label="Name"
                required
                maxLength={200}
                value={form.displayName}
                onChange={(event) => {
                  set({ displayName: event.currentTarget.value });
                }}
              />
              <TimeZone
                value={form.timeZone}
                onChange={(timeZone) => {
                  set({ timeZone });
                }}
              />
            </div>
          </section>
          <section className="card panel" aria-labelledby="domains">
            <h2 id="domains">Email domains</h2>
            <p className="soft">
              Data Readiness tells of students and staff whose email is of another domain. Without
              any domain here it does not look.
            </p>
            <Domains
              domains={form.emailDomains}
              onChange={(emailDomains) => {
                set({ emailDomains });
              }}
            />
          </section>
          <section className="card panel" aria-labelledby="kept">
            <h2 id="kept">How long things are kept</h2>
            <p className="soft">
              Fewer days are fewer data of people, and less to go back to. What is older is deleted
              for good.
            </p>
            <div className="stack-wide">
              {days(
                'historyDays',
                'Days of history',
                'As long every past state of the roster can be read, compared and restored',
              )}
              {days(
                'packageDays',
                'Days of packages',
                'As long files are kept as they came, and of each source the last ten at most',
              )}
            </div>
          </section>
          <section className="card panel" aria-labelledby="rollover">
            <h2 id="rollover">Rollover</h2>
            <p>
              The days on which the school year changes over, and which checks count, are set under{' '}
              <Link to={screens.readinessSettings(district)}>What counts</Link>.
            </p>
          </section>
        </div>
        <SaveBar
          changed={JSON.stringify(form) !== JSON.stringify(saved)}
          busy={save.isPending}
          error={save.error}
          onUndo={() => {
            setForm(saved);
          }}
        />
      </fieldset>
    </form>
  );
}

function TimeZone({ value, onChange }: { value: string; onChange: (zone: string) => void }) {
  const others = Intl.supportedValuesOf('timeZone').filter((zone) => !(zone in usual));
  // The hub may know a zone that the browser does not.
  if (!(value in usual) && !others.includes(value)) others.unshift(value);
  return (
    <NativeSelect
      label="Time zone"
      description="Of schedules, days off, and every time that is shown"
      value={value}
      onChange={(event) => {
        onChange(event.currentTarget.value);
      }}
    >
      <optgroup label="United States">
        {Object.entries(usual).map(([zone, name]) => (
          <option key={zone} value={zone}>
            {name} ({zone})
          </option>
        ))}
      </optgroup>
      <optgroup label="All others">
        {others.map((zone) => (
          <option key={zone} value={zone}>
            {zone}
          </option>
        ))}
      </optgroup>
    </NativeSelect>
  );
}

function Domains({
  domains,
  onChange,
}: {
  domains: string[];
  onChange: (domains: string[]) => void;
}) {
  const [next, setNext] = useState('');
  // People may write an address, or the domain with its "@".
  const domain = next.trim().toLowerCase().replace(/^.*@/, '');
  const add = () => {
    if (domain && !domains.includes(domain)) onChange([...domains, domain]);
    setNext('');
  };
  return (
    <>
      <Removable items={domains} words={(name) => name} onChange={onChange} />
      <div className="filters">
        <TextInput
          label="Another domain"
          placeholder="students.school.example"
          autoComplete="off"
          spellCheck={false}
          value={next}
          onChange={(event) => {
            setNext(event.currentTarget.value);
          }}
          onKeyDown={(event) => {
            // It adds the domain and does not send the form around it.
            if (event.key !== 'Enter') return;
            event.preventDefault();
            add();
          }}
        />
        <Button variant="default" disabled={!domain} onClick={add}>
          Add<span className="visually-hidden"> this domain</span>
        </Button>
      </div>
    </>
  );
}
