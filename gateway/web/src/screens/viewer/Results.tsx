import { Button } from '@mantine/core';
import { IconDownload } from '@tabler/icons-react';
import { useEffect, useRef } from 'react';
import { useLocation, useNavigate, useNavigationType, useSearchParams } from 'react-router';
import { recordsPerPage, useRecords } from '../../api/queries';
import { Pager } from '../../components/Pager';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { type Entity, entityInfo, type Search } from '../../lib/entities';
import { formatNumber, plural } from '../../lib/format';
import { downloads } from '../../lib/urls';
import { Explanation } from './Explanation';
import { RecordsTable } from './RecordsTable';

export function Results({ entity, search }: { entity: Entity; search: Search }) {
  const { id: district } = useDistrict();
  const paging = usePaging();
  const page = useRecords(district, entity, search, paging.token);
  const label = entityInfo(entity)?.label ?? entity;
  const heading = useHeadingInView(page.isSuccess && !page.isPlaceholderData);

  if (page.isPending) return <LoadingLines label={`Loading ${label}`} lines={10} />;
  if (page.isError) return <ErrorState error={page.error} onRetry={() => void page.refetch()} />;

  const { records, total, revision, nextPageToken } = page.data;
  if (records.length === 0) {
    return (
      <>
        <div role="status">
          <NothingFound label={label} filtered={Object.keys(search).length > 0} />
        </div>
        {search.sourcedId && !search.asOf && (
          <Explanation key={search.sourcedId} entity={entity} id={search.sourcedId} missing />
        )}
      </>
    );
  }
  const pager = (place: string) => (
    <Pager
      label={`Pages of records, ${place} the table`}
      paging={paging}
      pageSize={recordsPerPage}
      shown={records.length}
      total={total}
      busy={page.isPlaceholderData}
      next={nextPageToken}
    />
  );
  return (
    <section aria-labelledby="results">
      <div className="section-head">
        <div>
          <h2 id="results" ref={heading}>
            {label}
          </h2>
          <p className="soft">
            {plural(total, 'record', 'records')} at revision {formatNumber(revision)}
          </p>
        </div>
        <Button
          component="a"
          variant="default"
          size="xs"
          href={downloads.records(district, entity, search)}
          download
          leftSection={<IconDownload size={14} aria-hidden />}
        >
          Download CSV
        </Button>
      </div>
      {pager('above')}
      <RecordsTable
        // Another page starts with its rows closed.
        key={paging.token}
        entity={entity}
        records={records}
        busy={page.isPlaceholderData}
      />
      {records.length > 20 && pager('below')}
    </section>
  );
}

/**
 * Brings the heading into view when the results that were asked for are there: below the form on a
 * narrow screen, above the fold after "Next" at the end of a page.
 */
function useHeadingInView(ready: boolean) {
  const heading = useRef<HTMLHeadingElement>(null);
  const asked = useNavigationType() === 'PUSH';
  const { key } = useLocation();
  useEffect(() => {
    if (!ready || !asked || !heading.current) return;
    const { top } = heading.current.getBoundingClientRect();
    if (top < 0 || top > window.innerHeight * 0.8) heading.current.scrollIntoView();
  }, [ready, asked, key]);
  return heading;
}

/**
 * The page on screen is in the address. The pages before it, which only "Previous" needs, travel
 * with the browser's history; an address that was passed on knows its own page and the first.
 */
function usePaging() {
  const [parameters] = useSearchParams();
  const { pathname, state } = useLocation();
  const navigate = useNavigate();
  const token = parameters.get('pageToken') ?? '';
  const page = token ? Math.max(2, Number(parameters.get('page')) || 2) : 1;
  const before = (state as { before?: string[] } | null)?.before ?? [];

  const open = (toPage: number, toToken: string, trail: string[]) => {
    const next = new URLSearchParams(parameters);
    next.delete('page');
    next.delete('pageToken');
    if (toToken) {
      next.set('page', String(toPage));
      next.set('pageToken', toToken);
    }
    void navigate({ pathname, search: next.toString() }, { state: { before: trail } });
  };

  return {
    token,
    page,
    controls: (next: string | undefined) => ({
      onFirst: () => {
        open(1, '', []);
      },
      onPrevious:
        page === 2 || (page > 2 && before.length > 0)
          ? () => {
              open(page - 1, before.at(-1) ?? '', before.slice(0, -1));
            }
          : undefined,
      onNext: next
        ? () => {
            open(page + 1, next, [...before, token]);
          }
        : undefined,
    }),
  };
}

function NothingFound({ label, filtered }: { label: string; filtered: boolean }) {
  return (
    <EmptyState title="No data found">
      {filtered ? (
        <ul>
          <li>Remove a search field, or choose another entity.</li>
          <li>Ids and emails have to match exactly: check for missing characters.</li>
          <li>With “Status” set, removed or active records are left out.</li>
        </ul>
      ) : (
        <p>
          This district has no {label.toLowerCase()} yet. They appear when a sync delivers them; the
          overview shows the last one.
        </p>
      )}
    </EmptyState>
  );
}
