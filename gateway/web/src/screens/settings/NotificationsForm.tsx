import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schema } from '../../api/client';
import { useSaveNotifications, useTestNotification } from '../../api/district';
import { useMay } from '../../api/queries';
import { SaveBar } from '../../components/SaveBar';
import { EmptyState, ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { kindsOf, notificationKinds, withKind } from '../../lib/notifications';
import { supportAddress } from '../../lib/support';

type Recipient = Schema['Recipient'];

const most = 50;

/** Who is told by e-mail, and of what. */
export function NotificationsForm({ settings }: { settings: Schema['NotificationSettings'] }) {
  const { id: district } = useDistrict();
  const save = useSaveNotifications(district);
  const mayChange = useMay('districts.write');
  const saved = settings.recipients ?? [];
  const [recipients, setRecipients] = useState(saved);
  const unchanged = (recipient: Recipient) =>
    saved.some((other) => JSON.stringify(other) === JSON.stringify(recipient));
  return (
    <form
      aria-label="Notifications"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate({ recipients, etag: settings.etag });
      }}
    >
      {settings.mailOff && (
        <div className="notice notice-warning">
          <div>
            <p className="notice-title">This hub sends no mail</p>
            <p>
              It has no mail server, so nobody is told of anything. What you set here counts once it
              has one; ask <a href={`mailto:${supportAddress}`}>{supportAddress}</a>.
            </p>
          </div>
        </div>
      )}
      <fieldset className="settings" disabled={!mayChange}>
        <legend className="visually-hidden">Notifications</legend>
        <p>
          These people get an e-mail at once. It has counts and a link, and no data of anybody in
          your roster.
        </p>
        {recipients.length === 0 && (
          <EmptyState title="Nobody is told of anything">
            <p>Add the address of somebody who should look when a sync waits or fails.</p>
          </EmptyState>
        )}
        {recipients.map((recipient) => (
          <RecipientCard
            key={recipient.email}
            recipient={recipient}
            testable={!settings.mailOff && unchanged(recipient)}
            onChange={(next) => {
              setRecipients(
                next
                  ? recipients.map((other) => (other === recipient ? next : other))
                  : recipients.filter((other) => other !== recipient),
              );
            }}
          />
        ))}
        <AddRecipient
          taken={recipients}
          onAdd={(email) => {
            setRecipients([...recipients, { email, kinds: [] }]);
          }}
        />
        <SaveBar
          changed={JSON.stringify(recipients) !== JSON.stringify(saved)}
          busy={save.isPending}
          error={save.error}
          onUndo={() => {
            setRecipients(saved);
          }}
        />
      </fieldset>
    </form>
  );
}

interface RecipientCardProps {
  recipient: Recipient;
  /** The hub knows it like this, and has a mail server. */
  testable: boolean;
  /** Without a recipient: this one is removed. */
  onChange: (recipient?: Recipient) => void;
}

function RecipientCard({ recipient, testable, onChange }: RecipientCardProps) {
  const test = useTestNotification(useDistrict().id);
  const { email = '' } = recipient;
  const kinds = kindsOf(recipient);
  return (
    <fieldset className="card panel recipient">
      <legend>{email}</legend>
      <ul className="plain">
        {notificationKinds.map(({ id, label, note }) => (
          <li key={id}>
            <label className="tick">
              <input
                type="checkbox"
                checked={kinds.includes(id)}
                // Nothing to be told of is nobody to tell.
                disabled={kinds.length === 1 && kinds.includes(id)}
                onChange={(event) => {
                  onChange(withKind(recipient, id, event.currentTarget.checked));
                }}
              />
              <span>
                {label} <span className="soft">({note})</span>
              </span>
            </label>
          </li>
        ))}
      </ul>
      <div className="decision-actions">
        {testable && (
          <Button
            variant="default"
            size="xs"
            loading={test.isPending}
            onClick={() => {
              test.mutate(email);
            }}
          >
            Send a test mail
            <span className="visually-hidden"> to {email}</span>
          </Button>
        )}
        <Button
          variant="default"
          size="xs"
          onClick={() => {
            onChange();
          }}
        >
          Remove
          <span className="visually-hidden"> {email}</span>
        </Button>
        <span className="soft" role="status">
          {test.isSuccess && 'The mail server has taken it. Look into the mailbox.'}
        </span>
      </div>
      {test.isError && <ErrorState error={test.error} />}
    </fieldset>
  );
}

function AddRecipient({ taken, onAdd }: { taken: Recipient[]; onAdd: (email: string) => void }) {
  const [next, setNext] = useState('');
  const email = next.trim();
  const known = taken.some((other) => other.email?.toLowerCase() === email.toLowerCase());
  const possible = /^[^@\s]+@[^@\s]+$/.test(email) && !known && taken.length < most;
  const add = () => {
    if (!possible) return;
    onAdd(email);
    setNext('');
  };
  return (
    <div className="filters">
      <TextInput
        type="email"
        label="Another address"
        description={taken.length < most ? undefined : `${String(most)} are the most`}
        error={known ? 'This one is there already' : undefined}
        autoComplete="off"
        value={next}
        onChange={(event) => {
          setNext(event.currentTarget.value);
        }}
        onKeyDown={(event) => {
          // It adds the address and does not send the form around it.
          if (event.key !== 'Enter') return;
          event.preventDefault();
          add();
        }}
      />
      <Button variant="default" disabled={!possible} onClick={add}>
        Add<span className="visually-hidden"> this address</span>
      </Button>
    </div>
  );
}
