import { Button } from '@mantine/core';
import { Link, useParams } from 'react-router';
import { useMay } from '../../api/queries';
import { revisionChanges, type RevisionInfo, useRevision } from '../../api/revisions';
import { ChangeCounts } from '../../components/ChangeCounts';
import { ChangesBrowser } from '../../components/ChangesBrowser';
import { Page } from '../../components/Page';
import { EmptyState, ErrorState, Loading } from '../../components/States';
import { changesIn, changesInWords } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber } from '../../lib/format';
import { screens } from '../../lib/urls';
import { NotFoundScreen } from '../Fallbacks';
import { MadeBy } from './MadeBy';

/** What one revision brought. */
export function RevisionScreen() {
  const { id: district } = useDistrict();
  const number = Number(useParams().revision);
  const info = useRevision(district, number);
  if (!Number.isInteger(number) || number < 1) return <NotFoundScreen />;
  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.history(district)}>History</Link>
      </nav>
      {info.isPending ? (
        <Loading label="Loading the revision" />
      ) : info.isError ? (
        <ErrorState error={info.error} onRetry={() => void info.refetch()} />
      ) : (
        <Revision number={number} info={info.data} />
      )}
    </>
  );
}

function Revision({ number, info }: { number: number; info: RevisionInfo }) {
  const { id: district, timeZone } = useDistrict();
  const mayApprove = useMay('syncs.approve');
  const { revision, head } = info;
  if (!revision) {
    return (
      <Page title={`Revision ${formatNumber(number)}`}>
        <EmptyState title="There is no such revision">
          <p>
            {number > head
              ? `The newest is revision ${formatNumber(head)}.`
              : 'It is older than what is kept of your district’s history.'}
          </p>
        </EmptyState>
      </Page>
    );
  }
  const mayUndo = number < head && mayApprove;
  return (
    <Page
      title={`Revision ${formatNumber(number)}`}
      intro={number === head ? 'This is the newest state of your district’s data.' : undefined}
      actions={
        mayUndo && (
          <Button component={Link} variant="default" to={screens.undo(district, number)}>
            Undo: go back to this revision
          </Button>
        )
      }
    >
      <dl className="facts card panel">
        <dt>Saved</dt>
        <dd>{formatDateTime(revision.commitTime, timeZone)}</dd>
        <dt>Made by</dt>
        <dd>
          <MadeBy revision={revision} />
        </dd>
        <dt>Changes</dt>
        <dd>{changesInWords(revision.counts)}</dd>
        <dt>Look around</dt>
        <dd>
          <Link to={screens.records(district, 'users', { asOf: String(number) })}>
            Data Viewer as of this revision
          </Link>
          {number < head && (
            <>
              {' · '}
              <Link to={screens.compare(district, String(number), '')}>What has changed since</Link>
            </>
          )}
        </dd>
      </dl>
      {changesIn(revision.counts) > 0 && (
        <section aria-labelledby="counts">
          <h2 id="counts">Changes by entity</h2>
          <ChangeCounts counts={revision.counts ?? {}} />
        </section>
      )}
      <section aria-labelledby="changes">
        <h2 id="changes">What it changed</h2>
        <ChangesBrowser
          list={revisionChanges(district, number - 1, number)}
          before={number - 1}
          after={number}
        />
      </section>
    </Page>
  );
}
