import type { Schema } from '../../api/client';
import { findingsPerPage, useFindings } from '../../api/queries';
import { Pager, useTrail } from '../../components/Pager';
import { OrgLink, RecordLink } from '../../components/RecordLink';
import { ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { Tag } from '../../components/Tag';
import type { CheckLine } from '../../lib/checks';
import { useDistrict } from '../../lib/district';
import { isEntity, roleLabel } from '../../lib/entities';

interface FindingsTableProps {
  report: string;
  product: string;
  line: CheckLine;
}

export function FindingsTable({ report, product, line }: FindingsTableProps) {
  const { id: district } = useDistrict();
  const trail = useTrail();
  const findings = useFindings(district, report, line.id, product, trail.token);

  if (findings.isPending) return <LoadingLines label="Loading findings" />;
  if (findings.isError) {
    return <ErrorState error={findings.error} onRetry={() => void findings.refetch()} />;
  }
  const rows = findings.data.findings ?? [];
  const some = (value: (finding: Schema['ReadinessFinding']) => unknown) => rows.some(value);
  // A check fills only the columns that mean something to it.
  const has = {
    role: some((row) => row.role),
    email: some((row) => row.email),
    school: some((row) => row.schoolId || row.schoolName),
    grades: some((row) => row.grades?.length),
    related: some((row) => row.relatedSourcedId || row.relatedName),
  };

  return (
    <>
      <TableScroll label={`Findings of ${line.check.title ?? line.id}`}>
        <table className="table compact" aria-busy={findings.isPlaceholderData}>
          <thead>
            <tr>
              <th scope="col">Record</th>
              {has.role && <th scope="col">Role</th>}
              {has.email && <th scope="col">Email</th>}
              {has.school && <th scope="col">School</th>}
              {has.grades && <th scope="col">Grades</th>}
              {has.related && <th scope="col">Related to</th>}
              <th scope="col">Action</th>
              <th scope="col">Reason</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row, index) => (
              // A finding has no id of its own, and a page of a report never changes.
              <tr key={index}>
                <td>
                  {isEntity(row.entity) ? (
                    <RecordLink entity={row.entity} id={row.sourcedId}>
                      {row.displayName || row.sourcedId}
                    </RecordLink>
                  ) : (
                    row.displayName || row.sourcedId
                  )}
                </td>
                {has.role && <td>{roleLabel(row.role ?? '')}</td>}
                {has.email && <td>{row.email}</td>}
                {has.school && (
                  <td>{row.schoolId ? <OrgLink id={row.schoolId} /> : row.schoolName}</td>
                )}
                {has.grades && <td>{row.grades?.join(', ')}</td>}
                {has.related && (
                  <td>
                    <RecordLink
                      entity={row.entity === 'enrollments' ? 'classes' : 'users'}
                      id={row.relatedSourcedId}
                    >
                      {row.relatedName || row.relatedSourcedId}
                    </RecordLink>
                  </td>
                )}
                <td>
                  {row.actionable ? (
                    <Tag tone="warning">Fix</Tag>
                  ) : (
                    <Tag tone="neutral">No action</Tag>
                  )}
                </td>
                <td className="reason">{row.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      <Pager
        label="Pages of findings"
        paging={trail}
        pageSize={findingsPerPage}
        shown={rows.length}
        total={findings.data.totalSize ?? 0}
        busy={findings.isPlaceholderData}
        next={findings.data.nextPageToken}
      />
    </>
  );
}
