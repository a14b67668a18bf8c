import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useMay } from '../../api/queries';
import { useUpdateSource } from '../../api/sources';
import { Choice } from '../../components/Choice';
import { SaveBar } from '../../components/SaveBar';
import { TableScroll } from '../../components/TableScroll';
import { useDistrict } from '../../lib/district';
import { holdModes, type Threshold, thresholdsOf } from '../../lib/holds';
import { screens } from '../../lib/urls';

type Thresholds = Record<string, Schema['HoldThreshold']>;

/** Which plans of a source wait for a person, and what of them. */
export function HoldPolicyForm({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  const update = useUpdateSource(district, source.sourceId ?? '');
  const mayChange = useMay('sources.write');
  const saved = source.holdPolicy ?? {};
  const [policy, setPolicy] = useState(saved);
  const changed = JSON.stringify(policy) !== JSON.stringify(saved);
  const save = (holdPolicy: Schema['HoldPolicy']) => {
    update.mutate({ holdPolicy, etag: source.etag });
  };
  return (
    <form
      aria-label="What waits for a decision"
      onSubmit={(event) => {
        event.preventDefault();
        save(policy);
      }}
    >
      <fieldset className="settings" disabled={!mayChange}>
        <legend className="visually-hidden">What waits for a decision</legend>
        <p>
          A sync that would change too much waits until somebody has looked at it. What empties a
          kind of record altogether, and the first sync after an undo, always wait.
        </p>
        <fieldset className="choices">
          <legend>When a sync would change too much</legend>
          {holdModes.map(({ id, label, note }) => (
            <Choice
              key={id}
              name="mode"
              label={label}
              chosen={policy.mode === id}
              onChoose={() => {
                setPolicy({ ...policy, mode: id });
              }}
            >
              {note}
            </Choice>
          ))}
        </fieldset>
        <section aria-labelledby="thresholds">
          <h2 id="thresholds">How much is too much</h2>
          <p className="soft">
            Both have to be so, in the whole district or in one school: more than this share, and at
            least so many.
          </p>
          <ThresholdTable
            label="Thresholds"
            thresholds={policy.thresholds}
            onChange={(thresholds) => {
              setPolicy({ ...policy, thresholds });
            }}
          />
        </section>
        <section aria-labelledby="rollover">
          <h2 id="rollover">During rollover</h2>
          <p className="soft">
            These count instead while the school year changes over, and end by themselves. The days
            are set under <Link to={screens.readinessSettings(district)}>What counts</Link>.
          </p>
          <ThresholdTable
            label="Thresholds during rollover"
            thresholds={policy.rolloverThresholds}
            onChange={(rolloverThresholds) => {
              setPolicy({ ...policy, rolloverThresholds });
            }}
          />
        </section>
        <SaveBar
          changed={changed}
          busy={update.isPending}
          error={update.error}
          onUndo={() => {
            setPolicy(saved);
          }}
        >
          <Button
            variant="default"
            disabled={update.isPending}
            onClick={() => {
              save({});
            }}
          >
            Back to what is usual
          </Button>
        </SaveBar>
      </fieldset>
    </form>
  );
}

interface ThresholdTableProps {
  label: string;
  thresholds: Thresholds | undefined;
  onChange: (thresholds: Thresholds) => void;
}

function ThresholdTable({ label, thresholds = {}, onChange }: ThresholdTableProps) {
  return (
    <TableScroll label={label}>
      <table className="table thresholds">
        <thead>
          <tr>
            <th scope="col">Waits for a decision</th>
            <th scope="col">More than</th>
            <th scope="col">At least</th>
          </tr>
        </thead>
        <tbody>
          {thresholdsOf(thresholds).map((threshold) => (
            <ThresholdRow
              key={threshold.key}
              threshold={threshold}
              onChange={(next) => {
                onChange({ ...thresholds, [threshold.key]: next });
              }}
            />
          ))}
        </tbody>
      </table>
    </TableScroll>
  );
}

interface ThresholdRowProps {
  threshold: Threshold;
  onChange: (threshold: Schema['HoldThreshold']) => void;
}

function ThresholdRow({ threshold, onChange }: ThresholdRowProps) {
  const { label, counts, percent = 0, min = 0, off = false } = threshold;
  const whole = (text: string) => Math.max(0, Math.trunc(Number(text)) || 0);
  return (
    <tr>
      <th scope="row">
        <label className="tick">
          <input
            type="checkbox"
            checked={!off}
            onChange={(event) => {
              onChange({ percent, min, off: !event.currentTarget.checked });
            }}
          />
          {label}
        </label>
        <span className="soft table-note">{counts}</span>
      </th>
      <td className="figure">
        <TextInput
          type="number"
          size="xs"
          min={0}
          max={99}
          disabled={off}
          aria-label={`${label}: more than this percentage`}
          value={String(percent)}
          rightSection="%"
          onChange={(event) => {
            onChange({ percent: whole(event.currentTarget.value), min, off });
          }}
        />
      </td>
      <td className="figure">
        <TextInput
          type="number"
          size="xs"
          min={0}
          disabled={off}
          aria-label={`${label}: at least so many`}
          value={String(min)}
          onChange={(event) => {
            onChange({ percent, min: whole(event.currentTarget.value), off });
          }}
        />
      </td>
    </tr>
  );
}
