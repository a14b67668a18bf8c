import { useMutation, useQueryClient } from '@tanstack/react-query';
import { api, body, type Schema } from './client';

export type Decision =
  { verb: 'approve'; choice: Schema['ApproveSyncBody'] } | { verb: 'discard' | 'cancel' };

/** What a person decides about a sync; the answer is the sync as it is then. */
export function useDecide(district: string, sync: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (decision: Decision) => {
      const params = { path: { district, sync } };
      switch (decision.verb) {
        case 'approve':
          return body(
            api.POST('/v1/districts/{district}/syncs/{sync}:approve', {
              params,
              body: decision.choice,
            }),
          );
        case 'discard':
          return body(
            api.POST('/v1/districts/{district}/syncs/{sync}:discard', { params, body: {} }),
          );
        case 'cancel':
          return body(
            api.POST('/v1/districts/{district}/syncs/{sync}:cancel', { params, body: {} }),
          );
      }
    },
    // Also after a refusal: it says that the sync is not what the screen shows.
    onSettled: () => client.invalidateQueries({ queryKey: [district] }),
  });
}
