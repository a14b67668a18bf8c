import { Button } from '@mantine/core';
import { IconCheck, IconChevronRight, IconDownload } from '@tabler/icons-react';
import { useId } from 'react';
import { useSearchParams } from 'react-router';
import type { Schema } from '../../api/client';
import { Tag } from '../../components/Tag';
import type { CheckLine } from '../../lib/checks';
import { useDistrict } from '../../lib/district';
import { formatNumber, formatShare, sentence } from '../../lib/format';
import { downloads } from '../../lib/urls';
import { changeInWords } from './Comparison';
import { FindingsTable } from './FindingsTable';
import { Trend } from './Trend';

interface CheckRowProps {
  line: CheckLine;
  report: string;
  product: string;
  products: Schema['Product'][];
  /** The same check in this report and in the one that it is compared with. */
  change?: Schema['CheckChange'];
  /** The revision that was chosen to compare with; without one, it is the report before. */
  since?: number;
}

/** One check of a summary; opens to what it means, how to fix it and what it found. */
export function CheckRow({ line, report, product, products, change, since }: CheckRowProps) {
  const [parameters, setParameters] = useSearchParams();
  const details = useId();
  const open = parameters.getAll('check').includes(line.id);
  const passed = line.count === 0;
  const notes = [changeInWords(change, since), line.diagnosis, sentence(line.modeReason)].filter(
    Boolean,
  );

  const toggle = () => {
    setParameters(
      (current) => {
        const others = current.getAll('check').filter((id) => id !== line.id);
        current.delete('check');
        for (const id of open ? others : [...others, line.id]) current.append('check', id);
        return current;
      },
      { replace: true },
    );
  };

  return (
    <li className="check" data-check={line.id}>
      <button
        type="button"
        className="check-head"
        aria-expanded={open}
        aria-controls={details}
        onClick={toggle}
      >
        <IconChevronRight className="check-chevron" size={18} aria-hidden />
        <span className="check-title">{line.check.title}</span>
        <Verdict line={line} />
        <span className="check-count">
          <span className={passed ? 'figure soft' : 'figure'}>{formatNumber(line.count)}</span>
          {line.informational > 0 && (
            <span className="soft">
              <span className="visually-hidden">and </span>
              <span aria-hidden>+ </span>
              {formatNumber(line.informational)} informational
            </span>
          )}
        </span>
        <span className="check-share soft">
          <Share line={line} />
        </span>
      </button>
      {notes.length > 0 && (
        <p className="check-diagnosis">
          {change?.worse && (
            <>
              <Tag tone="bad">Worse</Tag>{' '}
            </>
          )}
          {notes.join(' ')}
        </p>
      )}
      <div id={details} hidden={!open}>
        {open && <CheckDetails line={line} report={report} product={product} products={products} />}
      </div>
    </li>
  );
}

function Verdict({ line }: { line: CheckLine }) {
  if (line.count > 0) {
    return line.check.severity === 'ERROR' ? (
      <Tag tone="bad">Error</Tag>
    ) : (
      <Tag tone="warning">Alert</Tag>
    );
  }
  if (line.mode === 'OFF') return <span className="soft">Switched off</span>;
  if (line.population === 0) return <span className="soft">No data</span>;
  return (
    <span className="check-passed">
      <IconCheck size={16} aria-hidden />
      Passed
    </span>
  );
}

function Share({ line }: { line: CheckLine }) {
  if (line.population === 0) return null;
  const whole = `of ${formatNumber(line.population)} ${line.check.counts ?? ''}`.trim();
  if (line.count === 0) return <>{whole}</>;
  return (
    <>
      {whole} ({formatShare(line.count, line.population)})
    </>
  );
}

function CheckDetails({ line, report, product, products }: CheckRowProps) {
  const { id: district } = useDistrict();
  const { check } = line;
  const affected = products.filter((p) => check.products?.includes(p.productId ?? ''));
  const hasFindings = line.count + line.informational > 0;
  return (
    <div className="check-details">
      <p>{check.description}</p>
      <dl className="facts">
        <dt>Affected products</dt>
        <dd>
          {affected.length === products.length
            ? 'All'
            : affected.map((p) => p.displayName).join(', ')}
        </dd>
        <dt>Needs to be fixed</dt>
        <dd>{check.needsFix ? 'Yes' : 'No'}</dd>
        {check.howToFix && (
          <>
            <dt>How to fix</dt>
            <dd>{check.howToFix}</dd>
          </>
        )}
        {check.knownIssues && (
          <>
            <dt>Known issues</dt>
            <dd>{check.knownIssues}</dd>
          </>
        )}
      </dl>
      {hasFindings ? (
        <>
          <div className="section-head">
            <h3>Findings</h3>
            <Button
              component="a"
              variant="default"
              size="xs"
              href={downloads.report(district, report, product, line.id)}
              download
              leftSection={<IconDownload size={14} aria-hidden />}
            >
              Download these as CSV
            </Button>
          </div>
          <FindingsTable report={report} product={product} line={line} />
        </>
      ) : (
        <p className="soft">
          {line.mode === 'OFF'
            ? 'Your district has switched this check off.'
            : 'This check found nothing.'}
        </p>
      )}
      <h3 className="trend-title">Trend</h3>
      <Trend checkId={line.id} product={product} />
    </div>
  );
}
