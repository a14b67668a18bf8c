import { Button, NativeSelect } from '@mantine/core';
import { NavLink, Outlet, useNavigate, useParams } from 'react-router';
import type { Schema } from '../api/client';
import { useDistricts, useLimited, useMe, useSignOut } from '../api/queries';
import { DistrictContext } from '../lib/district';
import { supportAddress } from '../lib/support';
import { screens } from '../lib/urls';
import { UnknownDistrictScreen } from '../screens/Fallbacks';
import { SignInScreen } from '../screens/SignIn';
import { ErrorState, Loading } from './States';

/** The frame of every screen; shows the sign-in page while nobody is signed in. */
export function Shell() {
  const me = useMe();
  if (me.isPending) return <Loading label="Loading Securly Sync" />;
  if (me.isError) {
    return (
      <main className="main">
        <ErrorState error={me.error} onRetry={() => void me.refetch()} />
      </main>
    );
  }
  return me.data === null ? <SignInScreen /> : <SignedIn me={me.data} />;
}

function SignedIn({ me }: { me: Schema['Me'] }) {
  const districts = useDistricts();
  const { district: id } = useParams();
  const known = districts.data?.find((district) => district.districtId === id);
  return (
    <>
      <a className="skip-link" href="#main">
        Skip to content
      </a>
      <header className="top">
        <div className="top-inner">
          <NavLink className="brand" to={id ? screens.home(id) : '/'}>
            <img src="/favicon.svg" alt="" />
            Securly Sync
          </NavLink>
          {id && known && <Navigation district={id} />}
          <div className="account">
            <DistrictChoice districts={districts.data ?? []} current={known} />
            <SignOut me={me} />
          </div>
        </div>
      </header>
      <main className="main" id="main" tabIndex={-1}>
        {id === undefined ? (
          <Outlet />
        ) : districts.isPending ? (
          <Loading label="Loading the district" />
        ) : districts.isError ? (
          <ErrorState error={districts.error} onRetry={() => void districts.refetch()} />
        ) : known ? (
          <DistrictContext value={{ id, timeZone: known.timeZone || 'UTC' }}>
            <Outlet />
          </DistrictContext>
        ) : (
          <UnknownDistrictScreen />
        )}
      </main>
      <Footer />
    </>
  );
}

function Navigation({ district }: { district: string }) {
  const limited = useLimited();
  return (
    <nav className="nav" aria-label="Main">
      {!limited && (
        <>
          <NavLink to={screens.readiness(district)}>Data Readiness</NavLink>
          <NavLink to={screens.overview(district)}>Overview</NavLink>
        </>
      )}
      <NavLink to={screens.schools(district)}>Schools</NavLink>
      <NavLink to={screens.viewer(district)}>Data Viewer</NavLink>
      {!limited && (
        <>
          <NavLink to={screens.sources(district)}>Sources</NavLink>
          <NavLink to={screens.history(district)}>History</NavLink>
          <NavLink to={screens.settings(district)}>Settings</NavLink>
        </>
      )}
    </nav>
  );
}

function DistrictChoice({
  districts,
  current,
}: {
  districts: Schema['District'][];
  current: Schema['District'] | undefined;
}) {
  const navigate = useNavigate();
  const name = (district: Schema['District']) => district.displayName || district.districtId || '';
  if (districts.length < 2) {
    return current ? <span className="district-name">{name(current)}</span> : null;
  }
  return (
    <NativeSelect
      aria-label="District"
      className="district-choice"
      value={current?.districtId ?? ''}
      onChange={(event) => void navigate(screens.home(event.currentTarget.value))}
    >
      {!current && <option value="">Choose a district</option>}
      {districts.map((district) => (
        <option key={district.districtId} value={district.districtId}>
          {name(district)}
        </option>
      ))}
    </NativeSelect>
  );
}

function SignOut({ me }: { me: Schema['Me'] }) {
  const signOut = useSignOut();
  return (
    <>
      {signOut.isError && <span role="alert">{signOut.error.message}</span>}
      <Button
        variant="default"
        size="xs"
        loading={signOut.isPending}
        title={me.displayName ? `Signed in as ${me.displayName}` : undefined}
        onClick={() => {
          signOut.mutate();
        }}
      >
        Sign out
      </Button>
    </>
  );
}

export function Footer() {
  return (
    <footer className="foot">
      <div className="foot-inner">
        <span>
          Questions or feedback? Write to <a href={`mailto:${supportAddress}`}>{supportAddress}</a>.
        </span>
        <span>Securly Sync</span>
      </div>
    </footer>
  );
}
