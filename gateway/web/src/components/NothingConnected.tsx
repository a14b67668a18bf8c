import { Link } from 'react-router';
import { useSources } from '../api/sources';
import { useDistrict } from '../lib/district';
import { screens } from '../lib/urls';

/** The way to a first source, on screens that have nothing to show without one. */
export function NothingConnected() {
  const { id: district } = useDistrict();
  const sources = useSources(district);
  if (!sources.isSuccess || sources.data.length > 0) return null;
  return (
    <div className="notice notice-neutral">
      <div>
        <p className="notice-title">Nothing is connected yet</p>
        <p>
          <Link to={screens.connect(district)}>Connect your student information system</Link>, and
          this page fills by itself.
        </p>
      </div>
    </div>
  );
}
