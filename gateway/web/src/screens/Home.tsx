import { Link, Navigate } from 'react-router';
import { useDistricts } from '../api/queries';
import { Page } from '../components/Page';
import { EmptyState, ErrorState, Loading } from '../components/States';
import { screens } from '../lib/urls';

/** Leads to the only district, or offers the choice. */
export function HomeScreen() {
  const districts = useDistricts();
  if (districts.isPending) return <Loading label="Loading districts" />;
  if (districts.isError) {
    return <ErrorState error={districts.error} onRetry={() => void districts.refetch()} />;
  }
  const [only, ...others] = districts.data;
  if (only && others.length === 0) {
    return <Navigate to={screens.home(only.districtId ?? '')} replace />;
  }
  return (
    <Page title="Districts">
      {districts.data.length === 0 ? (
        <EmptyState title="There is no district yet">
          <p>
            Create one through the API, with <code>POST /v1/districts</code>. The{' '}
            <a href="/docs">API reference</a> shows how.
          </p>
        </EmptyState>
      ) : (
        <ul className="card link-list">
          {districts.data.map((district) => (
            <li key={district.districtId}>
              <Link to={screens.home(district.districtId ?? '')}>
                {district.displayName || district.districtId}
              </Link>
              <span className="soft">{district.districtId}</span>
            </li>
          ))}
        </ul>
      )}
    </Page>
  );
}
