import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Link, useNavigate } from 'react-router';
import type { Schema } from '../../api/client';
import { revisionsPerPage, useRevisions } from '../../api/revisions';
import { KindHeadings } from '../../components/KindHeadings';
import { Page } from '../../components/Page';
import { Pager, useTrail } from '../../components/Pager';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { Tag } from '../../components/Tag';
import { changeKinds, sumOf } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber } from '../../lib/format';
import { screens } from '../../lib/urls';
import { MadeBy } from './MadeBy';

export function HistoryScreen() {
  return (
    <Page
      title="History"
      intro="Every state that your district’s data was in. Each sync that changes something, and each undo, makes a new revision; nothing is overwritten."
    >
      <CompareForm />
      <section aria-labelledby="revisions">
        <h2 id="revisions">Revisions</h2>
        <RevisionsTable />
      </section>
    </Page>
  );
}

function CompareForm() {
  const { id: district } = useDistrict();
  const navigate = useNavigate();
  const [from, setFrom] = useState('');
  const [to, setTo] = useState('');
  const [missing, setMissing] = useState(false);
  return (
    <form
      className="card panel"
      aria-label="Compare two revisions"
      onSubmit={(event) => {
        event.preventDefault();
        setMissing(from.trim() === '');
        if (from.trim()) void navigate(screens.compare(district, from.trim(), to.trim()));
      }}
    >
      <div className="filters compare-fields">
        <TextInput
          label="Compare"
          placeholder="12 or 2026-09-01"
          description="A revision, or a date: its end"
          error={missing ? 'Say what to compare: a revision’s number or a date.' : undefined}
          value={from}
          onChange={(event) => {
            setFrom(event.currentTarget.value);
          }}
        />
        <TextInput
          label="with"
          placeholder="Newest"
          description="The newest if you leave it empty"
          value={to}
          onChange={(event) => {
            setTo(event.currentTarget.value);
          }}
        />
        <Button type="submit" variant="default">
          Compare
        </Button>
      </div>
    </form>
  );
}

function RevisionsTable() {
  const { id: district } = useDistrict();
  const trail = useTrail();
  const revisions = useRevisions(district, trail.token);
  if (revisions.isPending) return <LoadingLines label="Loading revisions" lines={6} />;
  if (revisions.isError) {
    return <ErrorState error={revisions.error} onRetry={() => void revisions.refetch()} />;
  }
  const rows = revisions.data.revisions ?? [];
  if (rows.length === 0) {
    return (
      <EmptyState title="No revisions yet">
        <p>The first one is made by the first sync.</p>
      </EmptyState>
    );
  }
  return (
    <>
      <TableScroll label="Table of revisions">
        <table className="table" aria-busy={revisions.isPlaceholderData}>
          <thead>
            <tr>
              <th scope="col">Revision</th>
              <th scope="col">Saved</th>
              <th scope="col">Made by</th>
              <KindHeadings />
            </tr>
          </thead>
          <tbody>
            {rows.map((revision, index) => (
              <RevisionRow
                key={revision.revision}
                revision={revision}
                newest={trail.page === 1 && index === 0}
              />
            ))}
          </tbody>
        </table>
      </TableScroll>
      <Pager
        label="Pages of revisions"
        paging={trail}
        pageSize={revisionsPerPage}
        shown={rows.length}
        busy={revisions.isPlaceholderData}
        next={revisions.data.nextPageToken}
      />
    </>
  );
}

function RevisionRow({ revision, newest }: { revision: Schema['Revision']; newest: boolean }) {
  const { id: district, timeZone } = useDistrict();
  return (
    <tr>
      <th scope="row" className="revision-number">
        <Link to={screens.revision(district, revision.revision ?? 0)}>
          Revision {formatNumber(revision.revision)}
        </Link>{' '}
        {newest && <Tag tone="good">Newest</Tag>}
      </th>
      <td className="when">{formatDateTime(revision.commitTime, timeZone)}</td>
      <td>
        <MadeBy revision={revision} />
      </td>
      {changeKinds.map((kind) => (
        <td key={kind.id} className="number">
          {formatNumber(sumOf(revision.counts, kind.id))}
        </td>
      ))}
    </tr>
  );
}
