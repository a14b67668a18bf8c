import { Button } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck } from '@tabler/icons-react';
import type { Schema } from '../../api/client';
import { entities } from '../../lib/entities';
import { formatNumber, plural, sentence } from '../../lib/format';
import { Requirements } from './ConnectScreen';

interface TestResultProps {
  result: Schema['TestSourceResponse'];
  /** The settings as they are kept. */
  before: Record<string, unknown>;
  busy: boolean;
  /** Stores what a person has compared and found right. */
  onConfirm: (settings: Record<string, unknown>) => void;
}

/** What a test has found out: what blocks, what is worth a thought, and how much there is. */
export function TestResult({ result, before, busy, onConfirm }: TestResultProps) {
  const confirm = Object.entries((result.confirm ?? {}) as Record<string, unknown>);
  const required = result.required ?? [];
  const recommended = result.recommended ?? [];
  const messages = result.messages ?? [];
  const counts = entities.filter(({ id }) => result.counts?.[id] !== undefined);
  const listed = (message: Schema['TestMessage']) =>
    [...required, ...recommended].some(
      (need) => need.file === message.file && need.column === message.column,
    );
  const of = (level: string) =>
    messages.filter((message) => message.level === level && !listed(message));
  const warnings = [...of('warning'), ...of('notice')];

  if (confirm.length > 0) {
    return (
      <div className="notice notice-warning test-result" role="status">
        <IconAlertTriangle aria-hidden size={20} />
        <div>
          <p className="notice-title">Is this your server?</p>
          <p>
            Compare this with what the operator of the server tells you. If it is not the same,
            something else may be answering in its place: do not go on.
          </p>
          {confirm.map(([name, value]) => (
            <p key={name}>
              <code className="fingerprint">{String(value)}</code>
              {before[name] !== undefined && (
                <>
                  <br />
                  Until now it was <code>{String(before[name])}</code>
                </>
              )}
            </p>
          ))}
          <Button
            loading={busy}
            onClick={() => {
              onConfirm(Object.fromEntries(confirm));
            }}
          >
            Yes, trust this server
          </Button>
        </div>
      </div>
    );
  }
  return (
    <div className="test-result" role="status">
      {result.ok ? (
        <div className="notice notice-good">
          <IconCircleCheck aria-hidden size={20} />
          <div>
            <p className="notice-title">Everything that is required is there</p>
            <p>
              {recommended.length + warnings.length > 0
                ? `A sync works. ${plural(recommended.length + warnings.length, 'thing is', 'things are')} worth a thought before.`
                : 'A sync works.'}
            </p>
          </div>
        </div>
      ) : (
        <div className="notice notice-bad">
          <IconAlertTriangle aria-hidden size={20} />
          <div>
            <p className="notice-title">A sync would not work yet</p>
            <Messages list={of('error')} />
            <Requirements title="Required, and missing" list={required} />
          </div>
        </div>
      )}
      {recommended.length + warnings.length > 0 && (
        <div className="notice notice-warning">
          <div>
            <Messages list={warnings} />
            <Requirements title="Recommended, and missing" list={recommended} />
          </div>
        </div>
      )}
      {counts.length > 0 && (
        <>
          <h3>Rows that were found</h3>
          <dl className="facts">
            {counts.map(({ id, label }) => (
              <div key={id}>
                <dt>{label}</dt>
                <dd>{formatNumber(result.counts?.[id])}</dd>
              </div>
            ))}
          </dl>
        </>
      )}
    </div>
  );
}

function Messages({ list }: { list: Schema['TestMessage'][] }) {
  if (list.length === 0) return null;
  return (
    <ul>
      {list.map((message, index) => (
        <li key={index}>{sentence(message.message ?? '')}</li>
      ))}
    </ul>
  );
}
