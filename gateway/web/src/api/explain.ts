import { useQuery } from '@tanstack/react-query';
import type { Entity } from '../lib/entities';
import { api, body } from './client';

/** What a source has delivered and is still there to be synced from again. */
export function usePackages(district: string, source: string) {
  return useQuery({
    queryKey: [district, 'source', source, 'packages'],
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/sources/{source}/packages', {
          params: { path: { district, source } },
        }),
      ),
  });
}

/** Where a record comes from, or why it is not there; takes a moment, so it is asked for. */
export function useExplanation(district: string, entity: Entity, sourcedId: string) {
  return useQuery({
    queryKey: [district, 'explanation', entity, sourcedId],
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/{entity}:explain', {
          params: { path: { district, entity }, query: { sourcedId } },
        }),
      ),
  });
}
