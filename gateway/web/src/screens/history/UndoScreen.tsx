import { Button } from '@mantine/core';
import { IconCircleCheck } from '@tabler/icons-react';
import { Link, useParams } from 'react-router';
import { ApiError, type Schema } from '../../api/client';
import { useMay } from '../../api/queries';
import { revisionChanges, useDiff, useRestore, useRevision } from '../../api/revisions';
import { ChangeCounts } from '../../components/ChangeCounts';
import { ChangesBrowser } from '../../components/ChangesBrowser';
import { Page } from '../../components/Page';
import { EmptyState, ErrorState, Loading } from '../../components/States';
import { changesIn, changesInWords } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber, plural } from '../../lib/format';
import { screens } from '../../lib/urls';
import { NotFoundScreen } from '../Fallbacks';

/** Goes back to a revision: first what that would change, then the decision, then what came of it. */
export function UndoScreen() {
  const { id: district } = useDistrict();
  const number = Number(useParams().revision);
  if (!Number.isInteger(number) || number < 1) return <NotFoundScreen />;
  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.history(district)}>History</Link> ›{' '}
        <Link to={screens.revision(district, number)}>Revision {formatNumber(number)}</Link>
      </nav>
      <Preview key={number} number={number} />
    </>
  );
}

function Preview({ number }: { number: number }) {
  const { id: district, timeZone } = useDistrict();
  const mayApprove = useMay('syncs.approve');
  const info = useRevision(district, number);
  const head = info.data?.head ?? 0;
  const diff = useDiff(district, String(head), String(number), info.isSuccess);
  const restore = useRestore(district, number);
  const title = `Go back to revision ${formatNumber(number)}`;

  if (restore.isSuccess) return <Done number={number} result={restore.data} />;
  const failed = info.error ?? diff.error;
  if (failed) {
    return (
      <Page title={title}>
        <ErrorState
          error={failed}
          onRetry={() => {
            void info.refetch();
            void diff.refetch();
          }}
        />
      </Page>
    );
  }
  if (!info.data || !diff.data) return <Loading label="Working out what would change" />;

  const counts = diff.data.counts ?? {};
  const moved = restore.error instanceof ApiError && restore.error.reason === 'REVISION_MOVED';
  if (changesIn(counts) === 0) {
    return (
      <Page title={title}>
        <EmptyState title="There is nothing to undo">
          <p>Your district’s data is as it was at revision {formatNumber(number)}.</p>
        </EmptyState>
      </Page>
    );
  }
  return (
    <Page
      title={title}
      intro={`As it was saved ${formatDateTime(info.data.revision?.commitTime, timeZone)}. Nothing has been changed yet.`}
    >
      <section className="card panel decision" aria-labelledby="decision">
        <h2 id="decision">What happens if you go back</h2>
        <ul>
          <li>
            {plural(changesIn(counts), 'record changes', 'records change')} (
            {changesInWords(counts)}), from revision {formatNumber(head)}, the newest, to what they
            were at revision {formatNumber(number)}. The list below shows each of them.
          </li>
          <li>
            This is saved as a new revision, and products receive it. Nothing is lost: you can undo
            the undo in the same way.
          </li>
          <li>
            The next sync of each source that would change something waits for your approval, so
            that the same file does not undo your decision at night.
          </li>
        </ul>
        {restore.isError && (
          <ErrorState
            error={restore.error}
            onRetry={
              moved
                ? () => {
                    restore.reset();
                    void info.refetch();
                  }
                : undefined
            }
          />
        )}
        <div className="decision-actions">
          {mayApprove ? (
            <Button
              loading={restore.isPending}
              disabled={moved}
              onClick={() => {
                restore.mutate(head);
              }}
            >
              Apply {plural(changesIn(counts), 'change', 'changes')} and go back
            </Button>
          ) : (
            <p className="soft">Your account may look at this and may not do it.</p>
          )}
          <Button component={Link} variant="default" to={screens.revision(district, number)}>
            Leave everything as it is
          </Button>
        </div>
      </section>
      <section aria-labelledby="counts">
        <h2 id="counts">What would change</h2>
        <ChangeCounts counts={counts} />
      </section>
      <section aria-labelledby="changes">
        <h2 id="changes">Each change</h2>
        <ChangesBrowser
          list={revisionChanges(district, head, number)}
          before={head}
          after={number}
        />
      </section>
    </Page>
  );
}

function Done({ number, result }: { number: number; result: Schema['RestoreRevisionResponse'] }) {
  const { id: district } = useDistrict();
  const made = result.revision ?? 0;
  return (
    <Page title={`Back at revision ${formatNumber(number)}`}>
      <div className="notice notice-good" role="status">
        <IconCircleCheck aria-hidden size={20} />
        <div>
          <p className="notice-title">
            {result.committed
              ? `Your data is as it was at revision ${formatNumber(number)}`
              : 'There was nothing to change'}
          </p>
          <p>
            {result.committed && (
              <>
                Saved as revision {formatNumber(made)}: {changesInWords(result.counts)}. The next
                sync of each source that would change something waits for your approval; you find it
                on the overview.
              </>
            )}
          </p>
        </div>
      </div>
      <ul>
        <li>
          <Link to={screens.revision(district, made)}>See revision {formatNumber(made)}</Link>
        </li>
        <li>
          <Link to={screens.history(district)}>Back to the history</Link>
        </li>
        <li>
          <Link to={screens.overview(district)}>Go to the overview</Link>
        </li>
      </ul>
    </Page>
  );
}
