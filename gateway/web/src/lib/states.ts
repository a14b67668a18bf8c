import type { Schema } from '../api/client';

export type Tone = 'neutral' | 'busy' | 'good' | 'warning' | 'bad';

interface StateInfo {
  label: string;
  tone: Tone;
  final: boolean;
}

const reports: Partial<Record<Schema['ReportState'], StateInfo>> = {
  QUEUED: { label: 'Queued', tone: 'neutral', final: false },
  PROCESSING: { label: 'Processing', tone: 'busy', final: false },
  COMPLETED: { label: 'Completed', tone: 'good', final: true },
  FAILED: { label: 'Failed', tone: 'bad', final: true },
};

const syncs: Partial<Record<Schema['SyncState'], StateInfo>> = {
  QUEUED: { label: 'Queued', tone: 'neutral', final: false },
  PULLING: { label: 'Reading files', tone: 'busy', final: false },
  NORMALISING: { label: 'Checking rows', tone: 'busy', final: false },
  PLANNING: { label: 'Comparing', tone: 'busy', final: false },
  // A hold ends when a person decides, so it is worth watching, slowly.
  ON_HOLD: { label: 'On hold', tone: 'warning', final: true },
  COMMITTING: { label: 'Saving', tone: 'busy', final: false },
  COMPLETED: { label: 'Completed', tone: 'good', final: true },
  FAILED: { label: 'Failed', tone: 'bad', final: true },
  CANCELLED: { label: 'Cancelled', tone: 'neutral', final: true },
  DISCARDED: { label: 'Discarded', tone: 'neutral', final: true },
  SUPERSEDED: { label: 'Superseded', tone: 'neutral', final: true },
};

/** How the data of a source, or of a school, comes in. */
const standings: Partial<Record<Schema['State'], { label: string; tone: Tone }>> = {
  FAILING: { label: 'Failing', tone: 'bad' },
  ON_HOLD: { label: 'On hold', tone: 'warning' },
  PAUSED: { label: 'Paused', tone: 'neutral' },
  SETUP: { label: 'Setup', tone: 'neutral' },
  PROCESSING: { label: 'Processing', tone: 'busy' },
  CONNECTED: { label: 'Connected', tone: 'good' },
};

const unknown: StateInfo = { label: 'Unknown', tone: 'neutral', final: true };

export function reportState(report: Schema['ReadinessReport']): StateInfo {
  return reports[report.state ?? 'REPORT_STATE_UNSPECIFIED'] ?? unknown;
}

export function standing(state: Schema['State'] | undefined) {
  return standings[state ?? 'STATE_UNSPECIFIED'] ?? unknown;
}

export function syncState(state: Schema['SyncState'] | undefined): StateInfo {
  return syncs[state ?? 'SYNC_STATE_UNSPECIFIED'] ?? unknown;
}
