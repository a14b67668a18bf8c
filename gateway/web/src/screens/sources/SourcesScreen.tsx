import { Button } from '@mantine/core';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useMay, useSync } from '../../api/queries';
import { useConnectors, useSources } from '../../api/sources';
import { Page } from '../../components/Page';
import { EmptyState, ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { Tag } from '../../components/Tag';
import { useDistrict } from '../../lib/district';
import { formatDateTime } from '../../lib/format';
import { sourceStatus } from '../../lib/sources';
import { syncState } from '../../lib/states';
import { screens } from '../../lib/urls';

export function SourcesScreen() {
  const { id: district } = useDistrict();
  const sources = useSources(district);
  const mayConnect = useMay('sources.write');
  const connect = (
    <Button component={Link} to={screens.connect(district)}>
      Connect a source
    </Button>
  );
  const some = (sources.data ?? []).length > 0;
  return (
    <Page
      title="Sources"
      intro="Where your district’s roster comes from."
      actions={mayConnect && some && connect}
    >
      {sources.isPending ? (
        <LoadingLines label="Loading sources" />
      ) : sources.isError ? (
        <ErrorState error={sources.error} onRetry={() => void sources.refetch()} />
      ) : some ? (
        <SourcesTable sources={sources.data} />
      ) : (
        <EmptyState title="Nothing is connected yet">
          <p>
            Connect your student information system: choose it, try the connection, and look at what
            it delivers before anything is synced.
          </p>
          {mayConnect && connect}
        </EmptyState>
      )}
    </Page>
  );
}

function SourcesTable({ sources }: { sources: Schema['Source'][] }) {
  const { id: district, timeZone } = useDistrict();
  const connectors = useConnectors();
  return (
    <TableScroll label="Table of sources">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">Source</th>
            <th scope="col">Method</th>
            <th scope="col">Status</th>
            <th scope="col">Last sync</th>
            <th scope="col">Next sync</th>
          </tr>
        </thead>
        <tbody>
          {sources.map((source) => (
            <tr key={source.sourceId}>
              <th scope="row">
                <Link to={screens.source(district, source.sourceId ?? '')}>
                  {source.displayName || source.sourceId}
                </Link>
              </th>
              <td>
                {connectors.data?.connectors?.find((c) => c.connectorId === source.connector)
                  ?.displayName ?? source.connector}
              </td>
              <td>
                <Status source={source} />
              </td>
              <td className="when">
                {source.lastSync ? <LastSync sync={source.lastSync} /> : 'Never'}
              </td>
              <td className="when">{formatDateTime(source.nextRunTime, timeZone)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </TableScroll>
  );
}

function Status({ source }: { source: Schema['Source'] }) {
  const { id: district } = useDistrict();
  const status = sourceStatus(source, useSync(district, source.lastSync ?? '').data);
  return <Tag tone={status.tone}>{status.label}</Tag>;
}

export function LastSync({ sync: id }: { sync: string }) {
  const { id: district, timeZone } = useDistrict();
  const sync = useSync(district, id);
  if (!sync.data) return <Link to={screens.sync(district, id)}>See the last sync</Link>;
  const state = syncState(sync.data.state);
  return (
    <>
      <Tag tone={state.tone}>{state.label}</Tag>{' '}
      <Link to={screens.sync(district, id)}>{formatDateTime(sync.data.createTime, timeZone)}</Link>
    </>
  );
}
