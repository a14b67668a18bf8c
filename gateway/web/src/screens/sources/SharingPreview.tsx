import type { Schema } from '../../api/client';
import { TableScroll } from '../../components/TableScroll';
import { entities } from '../../lib/entities';
import { formatNumber } from '../../lib/format';

const rules: Record<string, string> = {
  schools: 'school',
  grades: 'grade',
  classes: 'class',
  classTypes: 'type of class',
  contactTypes: 'type of contact',
  primarySchoolOnly: 'not the primary school',
  mergeSchools: 'merged school',
};

interface SharingPreviewProps {
  counts: Record<string, Schema['SharingCounts']>;
  /** It is of other settings than those on screen. */
  stale?: boolean;
}

/** What sharing settings keep, change and leave out, and because of what. */
export function SharingPreview({ counts, stale }: SharingPreviewProps) {
  return (
    <TableScroll label="What is kept and left out">
      <table className="table" aria-busy={stale}>
        <thead>
          <tr>
            <th scope="col">Entity</th>
            <th scope="col" className="number">
              Kept
            </th>
            <th scope="col" className="number">
              Of these changed
            </th>
            <th scope="col" className="number">
              Left out
            </th>
            <th scope="col">Because of</th>
          </tr>
        </thead>
        <tbody>
          {entities
            .filter(({ id }) => counts[id])
            .map(({ id, label }) => {
              const count = counts[id] ?? {};
              return (
                <tr key={id}>
                  <th scope="row">{label}</th>
                  <td className="number">{formatNumber(count.kept)}</td>
                  <td className="number">{formatNumber(count.changed)}</td>
                  <td className="number">{formatNumber(count.dropped)}</td>
                  <td>
                    {Object.entries(count.rules ?? {})
                      .map(([rule, dropped]) => `${rules[rule] ?? rule}: ${formatNumber(dropped)}`)
                      .join(', ')}
                  </td>
                </tr>
              );
            })}
        </tbody>
      </table>
    </TableScroll>
  );
}
