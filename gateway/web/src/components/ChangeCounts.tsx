import { Link } from 'react-router';
import type { Schema } from '../api/client';
import { changeKinds, sumOf } from '../lib/changes';
import { entities } from '../lib/entities';
import { formatNumber } from '../lib/format';
import { queryString } from '../lib/urls';
import { KindHeadings } from './KindHeadings';
import { TableScroll } from './TableScroll';

interface ChangeCountsProps {
  counts: Record<string, Schema['EntityCounts']>;
  /** The parameters of this screen's address, for the links that filter its list of changes. */
  address?: Record<string, string>;
}

/** Changes by entity and kind; each figure leads to the changes it counts. */
export function ChangeCounts({ counts, address = {} }: ChangeCountsProps) {
  const rows = entities.filter(({ id }) =>
    changeKinds.some((kind) => (counts[id]?.[kind.id] ?? 0) > 0),
  );
  return (
    <TableScroll label="Table of changes by entity">
      <table className="table change-counts">
        <thead>
          <tr>
            <th scope="col">Entity</th>
            <KindHeadings />
          </tr>
        </thead>
        <tbody>
          {rows.map((entity) => (
            <tr key={entity.id}>
              <th scope="row">{entity.label}</th>
              {changeKinds.map((kind) => {
                const count = counts[entity.id]?.[kind.id] ?? 0;
                return (
                  <td key={kind.id} className="number">
                    {count > 0 ? (
                      <Link
                        to={queryString({ ...address, entity: entity.id, kind: kind.id })}
                        preventScrollReset
                      >
                        {formatNumber(count)}
                        <span className="visually-hidden">
                          {' '}
                          {entity.label} {kind.label.toLowerCase()}
                        </span>
                      </Link>
                    ) : (
                      <span className="soft">0</span>
                    )}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
        {rows.length > 1 && (
          <tfoot>
            <tr>
              <th scope="row">Together</th>
              {changeKinds.map((kind) => (
                <td key={kind.id} className="number">
                  {formatNumber(sumOf(counts, kind.id))}
                </td>
              ))}
            </tr>
          </tfoot>
        )}
      </table>
    </TableScroll>
  );
}
