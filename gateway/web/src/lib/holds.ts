import type { Schema } from '../api/client';
import { entityInfo } from './entities';

interface HoldKind {
  title: string;
  /** What a threshold counts; absent where there is no threshold. */
  counts?: string;
}

/** Why plans wait, by type of reason, in the order in which they are shown. */
const kinds: Record<string, HoldKind> = {
  'entity-emptied': { title: 'Nothing would be left' },
  'many-removals': { title: 'Many removals', counts: 'records that would be removed' },
  'many-updates': { title: 'Many changes', counts: 'records that would be changed' },
  'emails-blanked': { title: 'Emails would go', counts: 'users who would lose their email' },
  'users-rekeyed': { title: 'New ids', counts: 'users who would come back under another id' },
  'roles-flipped': { title: 'Other roles', counts: 'users whose role would change' },
  'many-guardians': {
    title: 'Many guardians',
    counts: 'students who would come to have six guardians or more',
  },
  'contacts-turned': {
    title: 'Emergency contacts as guardians',
    counts: 'students whose emergency contacts would become guardians',
  },
  'teachers-unenrolled': {
    title: 'Teachers without classes',
    counts: 'teachers who would lose enrollments and get no others',
  },
  'classes-halved': {
    title: 'Classes would empty',
    counts: 'classes that would lose more than half of their students',
  },
  'terms-ended': { title: 'Terms would end', counts: 'terms whose end would move to the past' },
  'schools-removed': { title: 'Schools would go', counts: 'schools that would be removed' },
  'revision-restored': { title: 'First sync after an undo' },
  'plan-changed': { title: 'Shown again, because it has changed' },
  'source-removed': { title: 'A source is removed' },
};

export function holdTitle(type: string | undefined): string {
  return kinds[type ?? '']?.title ?? '';
}

export type Threshold = Schema['HoldThreshold'] & {
  /** A type of reason, or that and an entity: many-removals.classes. */
  key: string;
  label: string;
  counts: string;
};

/** The thresholds of a policy in a steady order, those of entities below those of their type. */
export function thresholdsOf(map: Schema['HoldPolicy']['thresholds'] = {}): Threshold[] {
  const order = Object.keys(kinds);
  const place = (key: string) => order.indexOf(key.split('.')[0] ?? '');
  return Object.entries(map)
    .map(([key, threshold]) => {
      const [type = '', entity] = key.split('.');
      const title = kinds[type]?.title ?? type;
      return {
        ...threshold,
        key,
        label: entity ? `${title}: ${entityInfo(entity)?.label ?? entity}` : title,
        counts: kinds[type]?.counts ?? '',
      };
    })
    .sort((a, b) => place(a.key) - place(b.key) || a.key.localeCompare(b.key));
}

/** What of a plan waits that trips the policy. */
export const holdModes: readonly {
  id: Schema['HoldMode'];
  label: string;
  note: string;
}[] = [
  {
    id: 'HOLD_ALL',
    label: 'Everything waits',
    note: 'Nothing of the sync is applied before somebody has decided.',
  },
  {
    id: 'HOLD_SCHOOLS',
    label: 'Only the schools concerned wait',
    note: 'What touches a school with too many changes waits. The rest is applied at once.',
  },
  {
    id: 'APPLY_SAFE',
    label: 'Only removals wait',
    note: 'What is created and updated is applied at once.',
  },
];

export interface HoldGroup {
  type: string;
  title: string;
  reasons: Schema['HoldReason'][];
}

/** Reasons of the same type together, in the order in which the first of each came. */
export function groupReasons(reasons: readonly Schema['HoldReason'][]): HoldGroup[] {
  const groups = new Map<string, HoldGroup>();
  for (const reason of reasons) {
    const type = reason.type ?? '';
    const group = groups.get(type) ?? { type, title: holdTitle(type), reasons: [] };
    group.reasons.push(reason);
    groups.set(type, group);
  }
  return [...groups.values()];
}
