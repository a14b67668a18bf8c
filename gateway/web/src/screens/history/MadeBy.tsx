import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { Tag } from '../../components/Tag';
import { useDistrict } from '../../lib/district';
import { formatNumber } from '../../lib/format';
import { screens } from '../../lib/urls';

/** What made a revision: an undo, or a sync that has a page of its own. */
export function MadeBy({ revision }: { revision: Schema['Revision'] }) {
  const { id: district } = useDistrict();
  if (revision.undo) {
    const to = revision.undo.to ?? 0;
    return (
      <span className="made-by">
        <Tag tone="neutral">Undo</Tag>{' '}
        {to === 0 ? (
          'back to the empty district'
        ) : (
          <>
            back to <Link to={screens.revision(district, to)}>revision {formatNumber(to)}</Link>
          </>
        )}
      </span>
    );
  }
  return revision.sync ? (
    <Link to={screens.sync(district, revision.sync)}>A sync</Link>
  ) : (
    <>A person was erased</>
  );
}
