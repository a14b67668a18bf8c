import { Link } from 'react-router';
import { Page } from '../components/Page';
import { supportAddress } from '../lib/support';

export function NotFoundScreen() {
  return (
    <Page title="This page does not exist">
      <p>
        The address may be mistyped or out of date. <Link to="/">Go to the start page</Link>.
      </p>
    </Page>
  );
}

export function UnknownDistrictScreen() {
  return (
    <Page title="This district is not available">
      <p>
        It does not exist, or your account has no access to it.{' '}
        <Link to="/">Go to the start page</Link>.
      </p>
    </Page>
  );
}

/** The last resort: a screen failed in a way it did not expect. */
export function CrashScreen() {
  return (
    <main className="main">
      <h1>Something went wrong on this page</h1>
      <p>
        <a href="/">Start again</a>. If it happens again, write to{' '}
        <a href={`mailto:${supportAddress}`}>{supportAddress}</a> and say what you were doing.
      </p>
    </main>
  );
}
