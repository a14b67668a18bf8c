import { NavLink, useParams } from 'react-router';
import { useDistrictSettings, useNotificationSettings } from '../../api/district';
import { useMay } from '../../api/queries';
import { Page } from '../../components/Page';
import { ErrorState, LoadingLines } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { screens } from '../../lib/urls';
import { NotFoundScreen } from '../Fallbacks';
import { DistrictForm } from './DistrictForm';
import { NotificationsForm } from './NotificationsForm';

const parts = [
  { id: '', label: 'District' },
  { id: 'notifications', label: 'Notifications' },
];

/** What counts for the whole district, whatever it is connected to. */
export function DistrictScreen() {
  const { id: district } = useDistrict();
  const { part = '' } = useParams();
  const shown = parts.find((candidate) => candidate.id === part);
  const mayChange = useMay('districts.write');
  if (!shown) return <NotFoundScreen />;
  return (
    <Page title="District settings" windowTitle={part && `${shown.label} – District settings`}>
      <nav className="parts" aria-label="District settings">
        {parts.map(({ id, label }) => (
          <NavLink key={id} end to={screens.settings(district, id)}>
            {label}
          </NavLink>
        ))}
      </nav>
      {!mayChange && <p className="soft">Your account may look at these and not change them.</p>}
      {part === '' ? <General /> : <Notifications />}
    </Page>
  );
}

function General() {
  const settings = useDistrictSettings(useDistrict().id);
  if (settings.isPending) return <LoadingLines label="Loading the settings" lines={8} />;
  if (settings.isError) {
    return <ErrorState error={settings.error} onRetry={() => void settings.refetch()} />;
  }
  return <DistrictForm key={settings.data.etag} settings={settings.data} />;
}

function Notifications() {
  const settings = useNotificationSettings(useDistrict().id);
  if (settings.isPending) return <LoadingLines label="Loading the settings" lines={8} />;
  if (settings.isError) {
    return <ErrorState error={settings.error} onRetry={() => void settings.refetch()} />;
  }
  return <NotificationsForm key={settings.data.etag} settings={settings.data} />;
}
