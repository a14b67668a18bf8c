import type { Schema } from '../api/client';
import { syncState, type Tone } from './states';

/** How a source is doing, in a word; what a person has to look at comes first. */
export function sourceStatus(
  source: Schema['Source'],
  lastSync: Schema['Sync'] | undefined,
): { label: string; tone: Tone } {
  if (source.stopped) {
    return source.stopped.frozen
      ? { label: 'Stopped', tone: 'neutral' }
      : { label: 'Being removed', tone: 'warning' };
  }
  if (source.pause) return { label: 'Paused', tone: 'neutral' };
  const state = lastSync?.state;
  if (state === 'ON_HOLD') return { label: 'On hold', tone: 'warning' };
  if (state && !syncState(state).final) return { label: 'Processing', tone: 'busy' };
  if (state === 'FAILED') return { label: 'Failing', tone: 'bad' };
  if (source.staleSince) return { label: 'Nothing new', tone: 'warning' };
  return source.lastSync
    ? { label: 'Connected', tone: 'good' }
    : { label: 'Setup', tone: 'neutral' };
}
