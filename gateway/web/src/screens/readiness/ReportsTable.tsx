import { Button } from '@mantine/core';
import { IconChevronDown, IconChevronUp, IconDownload } from '@tabler/icons-react';
import { Fragment } from 'react';
import { useSearchParams } from 'react-router';
import type { Schema } from '../../api/client';
import { reportsPerPage, useReports } from '../../api/queries';
import { Pager, useTrail } from '../../components/Pager';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { Tag } from '../../components/Tag';
import { useDistrict } from '../../lib/district';
import { formatDateTime, formatNumber } from '../../lib/format';
import { reportState } from '../../lib/states';
import { downloads } from '../../lib/urls';
import { ReportSummary } from './ReportSummary';

export function ReportsTable({ product }: { product: string }) {
  const { id: district } = useDistrict();
  const trail = useTrail();
  const reports = useReports(district, trail.token);
  const [parameters, setParameters] = useSearchParams();
  const open = parameters.get('report');

  if (reports.isPending) return <LoadingLines label="Loading reports" lines={6} />;
  if (reports.isError) {
    return <ErrorState error={reports.error} onRetry={() => void reports.refetch()} />;
  }
  const rows = reports.data.readinessReports ?? [];

  if (rows.length === 0) {
    return (
      <EmptyState title="No reports yet">
        <p>
          A report is made by itself after each sync. Press “New Readiness Report” to make one now.
        </p>
      </EmptyState>
    );
  }

  const toggle = (id: string) => {
    setParameters((current) => {
      current.delete('check');
      current.delete('since');
      if (current.get('report') === id) current.delete('report');
      else current.set('report', id);
      return current;
    });
  };

  return (
    <>
      <table className="card table reports" aria-label="Readiness reports">
        <thead>
          <tr>
            <th scope="col">Report ID</th>
            <th scope="col">Queued</th>
            <th scope="col">Status</th>
            <th scope="col">
              <span className="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((report) => {
            const id = report.reportId ?? '';
            return (
              <Fragment key={id}>
                <ReportRow
                  report={report}
                  product={product}
                  open={open === id}
                  onToggle={() => {
                    toggle(id);
                  }}
                />
                {open === id && reportState(report).final && (
                  <tr className="detail-row">
                    <td colSpan={4} id={`summary-${id}`}>
                      <ReportSummary report={id} product={product} />
                    </td>
                  </tr>
                )}
              </Fragment>
            );
          })}
        </tbody>
      </table>
      <Pager
        label="Pages of reports"
        paging={trail}
        pageSize={reportsPerPage}
        shown={rows.length}
        busy={reports.isPlaceholderData}
        next={reports.data.nextPageToken}
      />
    </>
  );
}

interface ReportRowProps {
  report: Schema['ReadinessReport'];
  product: string;
  open: boolean;
  onToggle: () => void;
}

function ReportRow({ report, product, open, onToggle }: ReportRowProps) {
  const { id: district, timeZone } = useDistrict();
  const id = report.reportId ?? '';
  const state = reportState(report);
  const completed = report.state === 'COMPLETED';
  return (
    <tr>
      <th scope="row" className="report-id">
        {id}
      </th>
      <td>
        <time dateTime={report.createTime}>{formatDateTime(report.createTime, timeZone)}</time>
        <span className="soft report-cause">
          {report.automatic ? 'After a sync' : 'On request'}, revision{' '}
          {formatNumber(report.revision)}
        </span>
      </td>
      <td aria-live="polite">
        <Tag tone={state.tone}>{state.label}</Tag>
      </td>
      <td className="row-actions">
        <Button
          variant="default"
          size="xs"
          disabled={!state.final}
          aria-expanded={open}
          aria-controls={open ? `summary-${id}` : undefined}
          aria-label={`${open ? 'Hide' : 'View'} report ${id}`}
          rightSection={
            open ? (
              <IconChevronUp size={14} aria-hidden />
            ) : (
              <IconChevronDown size={14} aria-hidden />
            )
          }
          onClick={onToggle}
        >
          {open ? 'Hide' : 'View'}
        </Button>
        {completed && (
          <Button
            component="a"
            variant="default"
            size="xs"
            href={downloads.report(district, id, product)}
            download
            aria-label={`Download CSV of report ${id}`}
            leftSection={<IconDownload size={14} aria-hidden />}
          >
            Download CSV
          </Button>
        )}
      </td>
    </tr>
  );
}
