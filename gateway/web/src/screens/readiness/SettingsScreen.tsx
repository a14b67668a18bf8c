import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useCatalogue, useMay } from '../../api/queries';
import { useReadinessSettings, useSaveReadinessSettings } from '../../api/readiness';
import { Page } from '../../components/Page';
import { ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { modeOf, modes, withMode } from '../../lib/checks';
import { useDistrict } from '../../lib/district';
import { formatDate } from '../../lib/format';
import { screens } from '../../lib/urls';
import { Exceptions } from './Exceptions';

/** What a district wants of its reports. */
export function ReadinessSettingsScreen() {
  const { id: district } = useDistrict();
  const settings = useReadinessSettings(district);
  const catalogue = useCatalogue();
  const failed = settings.error ?? catalogue.error;
  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.readiness(district)}>Data Readiness</Link>
      </nav>
      <Page
        title="What counts"
        intro="Checks that do not matter in your district can be informational, which means listed and not counted, or off. It takes effect at once, also in reports that are there."
      >
        {failed ? (
          <ErrorState
            error={failed}
            onRetry={() => {
              void settings.refetch();
              void catalogue.refetch();
            }}
          />
        ) : settings.data && catalogue.data ? (
          <Settings
            key={settings.data.etag}
            settings={settings.data}
            checks={catalogue.data.readinessChecks ?? []}
            products={catalogue.data.products ?? []}
          />
        ) : (
          <LoadingLines label="Loading the settings" lines={8} />
        )}
      </Page>
    </>
  );
}

interface SettingsProps {
  settings: Schema['ReadinessSettings'];
  checks: Schema['ReadinessCheck'][];
  products: Schema['Product'][];
}

function Settings({ settings, checks, products }: SettingsProps) {
  const { id: district } = useDistrict();
  const save = useSaveReadinessSettings(district);
  const saved = { rules: settings.rules ?? [], windows: settings.rolloverWindows ?? [] };
  const [rules, setRules] = useState(saved.rules);
  const [windows, setWindows] = useState(saved.windows);
  const changed = JSON.stringify({ rules, windows }) !== JSON.stringify(saved);
  const mayChange = useMay('districts.write');

  return (
    <fieldset className="settings" disabled={!mayChange}>
      <legend className="visually-hidden">Settings</legend>
      {!mayChange && <p className="soft">Your account may look at these and not change them.</p>}
      <section aria-labelledby="exceptions">
        <h2 id="exceptions">For one product or school</h2>
        <Exceptions rules={rules} checks={checks} products={products} onChange={setRules} />
      </section>
      <section aria-labelledby="rollover">
        <h2 id="rollover">Rollover</h2>
        <p className="soft">
          While the school year changes over, findings that this causes are informational.
        </p>
        <Windows windows={windows} onChange={setWindows} />
      </section>
      <section aria-labelledby="everywhere">
        <h2 id="everywhere">For the whole district</h2>
        <TableScroll label="Checks and what they count">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Check</th>
                <th scope="col">Findings</th>
              </tr>
            </thead>
            <tbody>
              {checks.map((check) => {
                const id = check.checkId ?? '';
                return (
                  <tr key={id}>
                    <th scope="row">{check.title}</th>
                    <td className="mode">
                      <NativeSelect
                        aria-label={`Findings of “${check.title ?? id}”`}
                        size="xs"
                        value={modeOf(rules, id)}
                        onChange={(event) => {
                          setRules(withMode(rules, id, event.currentTarget.value));
                        }}
                      >
                        {modes.map((mode) => (
                          <option key={mode.id} value={mode.id}>
                            {mode.label}
                          </option>
                        ))}
                      </NativeSelect>
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </TableScroll>
      </section>
      <div className="save-bar">
        {save.isError && <ErrorState error={save.error} />}
        <div className="decision-actions">
          <Button
            disabled={!changed}
            loading={save.isPending}
            onClick={() => {
              save.mutate({ rules, rolloverWindows: windows, etag: settings.etag });
            }}
          >
            Save changes
          </Button>
          <Button
            variant="default"
            disabled={!changed}
            onClick={() => {
              setRules(saved.rules);
              setWindows(saved.windows);
            }}
          >
            Undo changes
          </Button>
          <span className="soft" role="status">
            {changed ? 'There are changes that are not saved.' : 'Everything is saved.'}
          </span>
        </div>
      </div>
    </fieldset>
  );
}

interface WindowsProps {
  windows: Schema['RolloverWindow'][];
  onChange: (windows: Schema['RolloverWindow'][]) => void;
}

function Windows({ windows, onChange }: WindowsProps) {
  const [startDate, setStart] = useState('');
  const [endDate, setEnd] = useState('');
  return (
    <>
      {windows.length > 0 && (
        <ul className="exceptions">
          {windows.map((window, index) => (
            <li key={index}>
              <span>
                {formatDate(window.startDate)} to {formatDate(window.endDate)}
              </span>
              <Button
                variant="default"
                size="compact-xs"
                onClick={() => {
                  onChange(windows.filter((_, other) => other !== index));
                }}
              >
                Remove
                <span className="visually-hidden"> {window.startDate}</span>
              </Button>
            </li>
          ))}
        </ul>
      )}
      <form
        className="filters"
        aria-label="Add a rollover"
        onSubmit={(event) => {
          event.preventDefault();
          onChange([...windows, { startDate, endDate }]);
          setStart('');
          setEnd('');
        }}
      >
        <TextInput
          type="date"
          label="First day"
          required
          value={startDate}
          onChange={(event) => {
            setStart(event.currentTarget.value);
          }}
        />
        <TextInput
          type="date"
          label="Last day"
          required
          min={startDate}
          value={endDate}
          onChange={(event) => {
            setEnd(event.currentTarget.value);
          }}
        />
        <Button type="submit" variant="default">
          Add
          <span className="visually-hidden"> rollover</span>
        </Button>
      </form>
    </>
  );
}
