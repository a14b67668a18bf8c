import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { changesInWords } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { formatNumber, plural, sentence } from '../../lib/format';
import { groupReasons } from '../../lib/holds';
import { screens } from '../../lib/urls';

const shown = 5;

/** Why a plan waits: each kind of reason once, with the schools that it is about. */
export function HoldReasons({ sync }: { sync: Schema['Sync'] }) {
  const reasons = sync.holdReasons ?? [];
  if (reasons.length === 0) return null;
  const waits = sync.state === 'ON_HOLD';
  const more = (sync.holdReasonsCount ?? 0) - reasons.length;
  return (
    <div className={`notice ${waits ? 'notice-warning' : 'notice-neutral'}`}>
      <div>
        <p className="notice-title">
          {waits
            ? 'This sync waits for a decision'
            : sync.dryRun
              ? 'A sync of this would wait for a decision'
              : 'This sync waited for a decision'}
        </p>
        <ul className="hold-reasons">
          {groupReasons(reasons).map(({ type, title, reasons: some }) => (
            <li key={type}>
              {title && <strong>{title}: </strong>}
              {some.length === 1 ? (
                sentence(some[0]?.message ?? '')
              ) : (
                <Several messages={some.map((reason) => sentence(reason.message ?? ''))} />
              )}{' '}
              {waits && sentence(some[0]?.nextStep ?? '')}
            </li>
          ))}
        </ul>
        {more > 0 && <p>And {plural(more, 'more reason', 'more reasons')} of this kind.</p>}
      </div>
    </div>
  );
}

function Several({ messages }: { messages: string[] }) {
  const list = (some: string[]) => (
    <ul>
      {some.map((message, index) => (
        <li key={index}>{message}</li>
      ))}
    </ul>
  );
  if (messages.length <= shown + 1) return list(messages);
  return (
    <>
      {list(messages.slice(0, shown))}
      <details className="more">
        <summary>{formatNumber(messages.length - shown)} more</summary>
        {list(messages.slice(shown))}
      </details>
    </>
  );
}

/** What the hold policy has let through of a plan whose rest waits. */
export function Applied({ sync }: { sync: Schema['Sync'] }) {
  const { id: district } = useDistrict();
  const part = sync.appliedPart;
  if (!part?.revision) return null;
  return (
    <div className="notice notice-neutral">
      <div>
        <p className="notice-title">A part of this sync was applied at once</p>
        <p>
          {part.mode === 'APPLY_SAFE'
            ? 'What it creates and updates does not wait for a decision'
            : 'Schools without too many changes do not wait for a decision'}
          : {changesInWords(part.counts)}, as{' '}
          <Link to={screens.revision(district, part.revision)}>
            revision {formatNumber(part.revision)}
          </Link>
          . The rest is what this page shows.
        </p>
      </div>
    </div>
  );
}
