import { useNavigate } from 'react-router';
import type { Schema } from '../../api/client';
import { useStartSync } from '../../api/sources';
import { useDistrict } from '../../lib/district';
import { screens } from '../../lib/urls';

/** Starts a sync and goes to its page. */
export function useRunSync(source: string) {
  const { id: district } = useDistrict();
  const navigate = useNavigate();
  const { mutate, ...start } = useStartSync(district, source);
  return {
    ...start,
    run: (request: Schema['StartSyncBody']) => {
      mutate(request, {
        onSuccess: ({ syncId = '' }) => {
          void navigate(screens.sync(district, syncId));
        },
      });
    },
  };
}
