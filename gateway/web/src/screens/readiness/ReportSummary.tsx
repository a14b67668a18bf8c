import { IconCircleCheck } from '@tabler/icons-react';
import { useSearchParams } from 'react-router';
import type { Schema } from '../../api/client';
import { useCatalogue, useReport } from '../../api/queries';
import { ErrorState, LoadingLines } from '../../components/States';
import { groupChecks, totals } from '../../lib/checks';
import { useDistrict } from '../../lib/district';
import { plural, sentence } from '../../lib/format';
import { useComparison, useKeptRevisions } from '../../api/readiness';
import { CheckRow } from './CheckRow';
import { Comparison } from './Comparison';
import { RetryReport } from './RetryReport';

/** The address holds what is compared with: ?since=, a revision. */
export function ReportSummary({ report: id, product }: { report: string; product: string }) {
  const { id: district } = useDistrict();
  const report = useReport(district, id, product);
  const catalogue = useCatalogue();
  const [parameters, setParameters] = useSearchParams();
  const since = Number(parameters.get('since')) || undefined;
  const comparison = useComparison(district, id, product, since);
  const revisions = useKeptRevisions(district);
  const failed = report.error ?? catalogue.error;

  if (failed) {
    return (
      <ErrorState
        error={failed}
        onRetry={() => {
          void report.refetch();
          void catalogue.refetch();
        }}
      />
    );
  }
  if (!report.data || !catalogue.data)
    return <LoadingLines label="Loading the summary" lines={8} />;
  if (report.data.state === 'FAILED') return <FailedReport report={report.data} />;

  const results = report.data.checks ?? [];
  const productName = catalogue.data.products?.find((p) => p.productId === product)?.displayName;
  return (
    <div className="summary" aria-busy={report.isPlaceholderData}>
      <Headline results={results} productName={productName} empty={report.data.revision === 0} />
      <Comparison
        comparison={comparison}
        catalogue={catalogue.data.readinessChecks ?? []}
        earlier={(revisions.data ?? []).filter(
          ({ revision }) => (revision ?? 0) < (report.data.revision ?? 0),
        )}
        since={since}
        onChoose={(value) => {
          setParameters(
            (current) => {
              if (value) current.set('since', value);
              else current.delete('since');
              return current;
            },
            { replace: true },
          );
        }}
      />
      {groupChecks(results, catalogue.data.readinessChecks ?? []).map((group) => (
        <section key={group.title} aria-labelledby={`${id}-${group.title}`}>
          <h2 id={`${id}-${group.title}`} className="check-group">
            {group.title}
          </h2>
          <ul className="checks">
            {group.lines.map((line) => (
              <CheckRow
                key={line.id}
                line={line}
                report={id}
                product={product}
                products={catalogue.data.products ?? []}
                change={comparison.data?.checks?.find((change) => change.checkId === line.id)}
                since={since}
              />
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}

interface HeadlineProps {
  results: Schema['CheckResult'][];
  productName: string | undefined;
  /** Whether there were no records to check. */
  empty: boolean;
}

function Headline(props: HeadlineProps) {
  const sum = totals(props.results);
  const scope = props.productName ? ` for ${props.productName}` : '';
  const noise =
    sum.informational > 0
      ? `${plural(sum.informational, 'more finding needs', 'more findings need')} no action.`
      : '';
  if (props.empty) {
    return (
      <div className="notice notice-warning" role="status">
        <div>
          <p className="notice-title">There was nothing to check</p>
          <p>Nothing had been synced when this report was made. Make another one after a sync.</p>
        </div>
      </div>
    );
  }
  if (sum.findings === 0) {
    return (
      <div className="notice notice-good" role="status">
        <IconCircleCheck aria-hidden size={20} />
        <div>
          <p className="notice-title">All checks passed{scope}</p>
          <p>
            {plural(sum.checks, 'check', 'checks')} found nothing to fix. {noise}
          </p>
        </div>
      </div>
    );
  }
  return (
    <div className="headline" role="status">
      <p className="headline-figure">
        {plural(sum.findings, 'finding', 'findings')} to fix{scope}
      </p>
      <p className="soft">
        In {sum.failing} of {plural(sum.checks, 'check', 'checks')}. {noise}
      </p>
    </div>
  );
}

function FailedReport({ report }: { report: Schema['ReadinessReport'] }) {
  return (
    <div className="notice notice-bad">
      <div>
        <p className="notice-title">This report could not be finished.</p>
        <p>{sentence(report.error || 'the reason is not known')}</p>
      </div>
      <RetryReport report={report.reportId ?? ''} />
    </div>
  );
}
