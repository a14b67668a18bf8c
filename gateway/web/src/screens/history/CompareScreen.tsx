import { Link, useSearchParams } from 'react-router';
import { revisionChanges, useDiff } from '../../api/revisions';
import { ChangeCounts } from '../../components/ChangeCounts';
import { ChangesBrowser } from '../../components/ChangesBrowser';
import { Page } from '../../components/Page';
import { EmptyState, ErrorState, Loading } from '../../components/States';
import { changesInWords } from '../../lib/changes';
import { useDistrict } from '../../lib/district';
import { formatNumber } from '../../lib/format';
import { screens } from '../../lib/urls';

/** What any two revisions differ in, in the direction from the first to the second. */
export function CompareScreen() {
  const { id: district } = useDistrict();
  const [parameters] = useSearchParams();
  const [from, to] = [parameters.get('from') ?? '', parameters.get('to') ?? ''];
  const diff = useDiff(district, from, to);
  return (
    <>
      <nav className="breadcrumbs" aria-label="Breadcrumb">
        <Link to={screens.history(district)}>History</Link>
      </nav>
      {diff.isPending ? (
        <Loading label="Comparing" />
      ) : diff.isError ? (
        <Page title="Compare two revisions">
          <ErrorState error={diff.error} onRetry={() => void diff.refetch()} />
          <p>
            <Link to={screens.history(district)}>Choose other revisions</Link>
          </p>
        </Page>
      ) : (
        <Difference
          from={diff.data.from ?? 0}
          to={diff.data.to ?? 0}
          counts={diff.data.counts ?? {}}
          address={{ from, to }}
        />
      )}
    </>
  );
}

interface DifferenceProps {
  from: number;
  to: number;
  counts: Record<string, { created?: number; updated?: number; removed?: number }>;
  address: Record<string, string>;
}

function Difference({ from, to, counts, address }: DifferenceProps) {
  const { id: district } = useDistrict();
  const same = Object.keys(counts).length === 0;
  return (
    <Page
      title={`From revision ${formatNumber(from)} to ${formatNumber(to)}`}
      intro={
        from === 0
          ? 'Revision 0 is the empty district.'
          : `What has to change for revision ${formatNumber(from)} to become revision ${formatNumber(to)}: ${changesInWords(counts)}.`
      }
      actions={
        <Link to={screens.compare(district, String(to), String(from))}>The other way around</Link>
      }
    >
      {same ? (
        <EmptyState title="The two revisions are the same">
          <p>No record differs.</p>
        </EmptyState>
      ) : (
        <>
          <ChangeCounts counts={counts} address={address} />
          <section aria-labelledby="changes">
            <h2 id="changes">Changes</h2>
            <ChangesBrowser list={revisionChanges(district, from, to)} before={from} after={to} />
          </section>
        </>
      )}
    </Page>
  );
}
