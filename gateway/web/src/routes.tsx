import { createBrowserRouter, Navigate, useParams } from 'react-router';
import { useLimited } from './api/queries';
import { Shell } from './components/Shell';
import { CrashScreen, NotFoundScreen } from './screens/Fallbacks';
import { HomeScreen } from './screens/Home';
import { EntryScreen } from './screens/entries/EntryScreen';
import { CompareScreen } from './screens/history/CompareScreen';
import { HistoryScreen } from './screens/history/HistoryScreen';
import { RevisionScreen } from './screens/history/RevisionScreen';
import { UndoScreen } from './screens/history/UndoScreen';
import { OverviewScreen } from './screens/overview/OverviewScreen';
import { SyncScreen } from './screens/overview/SyncScreen';
import { ReadinessSettingsScreen } from './screens/readiness/SettingsScreen';
import { ReadinessScreen } from './screens/readiness/ReadinessScreen';
import { SchoolsScreen } from './screens/schools/SchoolsScreen';
import { ConnectScreen } from './screens/sources/ConnectScreen';
import { SourceScreen } from './screens/sources/SourceScreen';
import { SourcesScreen } from './screens/sources/SourcesScreen';
import { DistrictScreen } from './screens/settings/DistrictScreen';
import { RecordScreen } from './screens/viewer/RecordScreen';
import { ViewerScreen } from './screens/viewer/ViewerScreen';
import { screens } from './lib/urls';

/** The page that a user lands on. */
function ToFirst() {
  const { district = '' } = useParams();
  return (
    <Navigate to={useLimited() ? screens.schools(district) : screens.readiness(district)} replace />
  );
}

export const router = createBrowserRouter([
  {
    element: <Shell />,
    errorElement: <CrashScreen />,
    children: [
      { path: '/', element: <HomeScreen /> },
      {
        path: '/districts/:district',
        children: [
          { index: true, element: <ToFirst /> },
          { path: 'readiness', element: <ReadinessScreen /> },
          { path: 'readiness/settings', element: <ReadinessSettingsScreen /> },
          { path: 'overview', element: <OverviewScreen /> },
          { path: 'syncs/:sync', element: <SyncScreen /> },
          { path: 'sources', element: <SourcesScreen /> },
          { path: 'sources/:source/entry', element: <EntryScreen /> },
          { path: 'sources/:source/:part?', element: <SourceScreen /> },
          { path: 'settings/:part?', element: <DistrictScreen /> },
          { path: 'schools', element: <SchoolsScreen /> },
          { path: 'connect', element: <ConnectScreen /> },
          { path: 'history', element: <HistoryScreen /> },
          { path: 'history/compare', element: <CompareScreen /> },
          { path: 'history/:revision', element: <RevisionScreen /> },
          { path: 'history/:revision/undo', element: <UndoScreen /> },
          { path: 'data/:entity?', element: <ViewerScreen /> },
          { path: 'data/:entity/record', element: <RecordScreen /> },
        ],
      },
      { path: '*', element: <NotFoundScreen /> },
    ],
  },
]);
