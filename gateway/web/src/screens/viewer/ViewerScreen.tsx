import { useLocation, useNavigate, useParams, useSearchParams } from 'react-router';
import { Page } from '../../components/Page';
import { useDistrict } from '../../lib/district';
import { type Entity, entityInfo, isEntity } from '../../lib/entities';
import { screens, searchFrom } from '../../lib/urls';
import { NotFoundScreen } from '../Fallbacks';
import { Results } from './Results';
import { SearchForm } from './SearchForm';

/**
 * The address is the whole state: the entity in the path, the search and the page as parameters.
 * Without an entity nothing was asked for yet.
 */
export function ViewerScreen() {
  const { id: district } = useDistrict();
  const { entity } = useParams();
  const [parameters] = useSearchParams();
  const navigate = useNavigate();
  const location = useLocation();

  if (entity !== undefined && !isEntity(entity)) return <NotFoundScreen />;
  const search = searchFrom(parameters);
  const label = entityInfo(entity)?.label;

  return (
    <Page
      title="Data Viewer"
      windowTitle={label ? `${label} – Data Viewer` : undefined}
      intro="Look up the records that were synced from your student information system."
    >
      {/* Another address, by a link or the back button, brings its own search into the form. */}
      <SearchForm
        key={`${location.pathname}?${JSON.stringify(search)}`}
        entity={entity}
        search={search}
        onView={(chosen: Entity, wanted) => {
          void navigate(screens.records(district, chosen, wanted));
        }}
      />
      {entity && <Results key={entity} entity={entity} search={search} />}
    </Page>
  );
}
