import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useDistrict } from '../../lib/district';
import { screens } from '../../lib/urls';

/** Says that nobody has said yet how the files of a source are read. */
export function MappingMissing({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  if (!source.mapping || (source.mapping.records ?? []).length > 0) return null;
  return (
    <div className="notice notice-warning">
      <div>
        <p className="notice-title">Nothing says yet what the files of this source are</p>
        <p>
          Bring a package first; it is kept and not synced. Then{' '}
          <Link to={screens.source(district, source.sourceId ?? '', 'mapping')}>
            say what its files and columns are
          </Link>
          .
        </p>
      </div>
    </div>
  );
}
