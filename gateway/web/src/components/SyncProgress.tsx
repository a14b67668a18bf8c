import { useState } from 'react';
import type { Schema } from '../api/client';
import { useSyncs } from '../api/queries';
import { useDistrict } from '../lib/district';
import { formatBytes, formatNumber, formatSeconds } from '../lib/format';

/** How far a running sync is, how fast it goes, and when it is done if that can be told. */
export function SyncProgress({ sync, at }: { sync: Schema['Sync']; at: number }) {
  const { id: district } = useDistrict();
  const before = useSyncs(district, sync.source ?? '', '').data?.syncs?.find(
    (other) => other.state === 'COMPLETED' && (other.rowsRead ?? 0) > 0,
  );
  const rows = sync.rowsRead ?? 0;
  const pulled = sync.bytesPulled ?? 0;
  if (sync.state === 'PULLING' && pulled > 0) {
    return (
      <Bar
        key="bytes"
        label="fetched"
        value={pulled}
        goal={sync.bytesToPull ?? 0}
        at={at}
        format={formatBytes}
      />
    );
  }
  if (rows === 0) return null;
  return (
    <Bar
      key="rows"
      label="rows read"
      value={rows}
      // The source says how much it has only at its end; the sync before is a good guess.
      goal={before?.rowsRead ?? 0}
      guess
      at={at}
      format={formatNumber}
    />
  );
}

interface BarProps {
  label: string;
  value: number;
  /** 0 if it is not known. */
  goal: number;
  /** The goal is that of the last time. */
  guess?: boolean;
  /** When the value was read, in milliseconds. */
  at: number;
  format: (value: number) => string;
}

const remembered = 10;

function Bar({ label, value, goal, guess, at, format }: BarProps) {
  const [samples, setSamples] = useState([{ value, at }]);
  if (samples.at(-1)?.at !== at) setSamples([...samples, { value, at }].slice(-remembered));
  const first = samples[0] ?? { value, at };
  const rate = at > first.at ? ((value - first.value) / (at - first.at)) * 1000 : 0;
  const known = goal > value || (!guess && goal === value);
  const parts = [
    `${format(value)}${known ? ` of ${guess ? 'about ' : ''}${format(goal)}` : ''} ${label}`,
    rate > 0 && `${format(Math.round(rate))} per second`,
    rate > 0 &&
      known &&
      `about ${formatSeconds(Math.max(1, Math.round((goal - value) / rate)))} left${guess ? ', if there is as much as the last time' : ''}`,
  ];
  return (
    <div className="progress">
      <progress
        aria-label={label}
        max={known ? goal : undefined}
        value={known ? value : undefined}
      />
      <span>{parts.filter(Boolean).join(' · ')}</span>
    </div>
  );
}
