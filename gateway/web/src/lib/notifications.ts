import type { Schema } from '../api/client';

type Kind = Schema['NotificationKind'];

/** What somebody can be told of. */
export const notificationKinds: readonly { id: Kind; label: string; note: string }[] = [
  { id: 'HOLD', label: 'A sync waits', note: 'Somebody has to decide; told again each day' },
  { id: 'FAILURE', label: 'A sync has failed', note: 'The first one after one that had not' },
  { id: 'STALE', label: 'Nothing new', note: 'A source has stopped to deliver' },
  {
    id: 'HOST_KEY_CHANGED',
    label: 'A server shows another key',
    note: 'Nothing is fetched until somebody has compared it',
  },
  { id: 'RECOVERY', label: 'All is well again', note: 'After trouble that was told' },
];

/** The kinds that a recipient is told of; none means all. */
export function kindsOf({ kinds = [] }: Schema['Recipient']): Kind[] {
  return kinds.length === 0 ? notificationKinds.map(({ id }) => id) : kinds;
}

/** A recipient with a kind more or less; all kinds are written as none, so that new ones count too. */
export function withKind(
  recipient: Schema['Recipient'],
  kind: Kind,
  told: boolean,
): Schema['Recipient'] {
  const kinds = kindsOf(recipient).filter((other) => other !== kind);
  if (told) kinds.push(kind);
  return { ...recipient, kinds: kinds.length === notificationKinds.length ? [] : kinds };
}
