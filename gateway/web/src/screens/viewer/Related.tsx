import { Link } from 'react-router';
import { OrgLink, RecordLink, useAsOf } from '../../components/RecordLink';
import { useDistrict } from '../../lib/district';
import { type AnyRecord, type Entity, roleLabel } from '../../lib/entities';
import { lookups, references } from '../../lib/refs';
import { screens } from '../../lib/urls';

/** Where to go from a record: what it points to, and searches for what points to it. */
export function Related({ entity, record }: { entity: Entity; record: AnyRecord }) {
  const { id: district } = useDistrict();
  const asOf = useAsOf();
  const targets = references(entity, record);
  const searches = lookups(entity, record.sourcedId ?? '');
  if (targets.length + searches.length === 0) return null;
  return (
    <div className="related">
      <p className="related-title">Related records</p>
      <ul>
        {targets.map((target, index) => (
          <li key={index}>
            <span className="soft">
              {target.label}
              {target.note ? ` (${roleLabel(target.note).toLowerCase()})` : ''}:{' '}
            </span>
            {target.entity === 'orgs' ? (
              <OrgLink id={target.id} />
            ) : (
              <RecordLink entity={target.entity} id={target.id} />
            )}
          </li>
        ))}
        {searches.map((search) => (
          <li key={search.label}>
            <Link to={screens.records(district, search.entity, { ...search.search, asOf })}>
              {search.label}
            </Link>
          </li>
        ))}
      </ul>
    </div>
  );
}
