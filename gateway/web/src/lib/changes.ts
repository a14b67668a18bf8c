import type { Schema } from '../api/client';
import { formatNumber } from './format';
import type { Tone } from './states';

export type ChangeKind = 'created' | 'updated' | 'removed';

export const changeKinds: readonly { id: ChangeKind; label: string; tone: Tone }[] = [
  { id: 'created', label: 'Created', tone: 'good' },
  { id: 'updated', label: 'Updated', tone: 'busy' },
  { id: 'removed', label: 'Removed', tone: 'warning' },
];

type Counts = Record<string, Pick<Schema['EntityCounts'], ChangeKind>> | undefined;

export function sumOf(counts: Counts, kind: ChangeKind): number {
  return Object.values(counts ?? {}).reduce((sum, entity) => sum + (entity[kind] ?? 0), 0);
}

export function changesIn(counts: Counts): number {
  return changeKinds.reduce((sum, kind) => sum + sumOf(counts, kind.id), 0);
}

/** What a revision is made of in one line: "12 created, 3 updated". */
export function changesInWords(counts: Counts): string {
  const parts = changeKinds
    .map(({ id, label }) => ({ label, count: sumOf(counts, id) }))
    .filter(({ count }) => count > 0)
    .map(({ label, count }) => `${formatNumber(count)} ${label.toLowerCase()}`);
  return parts.join(', ') || 'nothing';
}
