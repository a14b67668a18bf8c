import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { api, body, type Schema } from './client';

/** How a guardian file would be read and matched; nothing is kept of it. */
export function useGuardianPreview(
  district: string,
  source: string,
  guardians: Schema['GuardianFile'],
) {
  return useQuery({
    queryKey: [district, 'source', source, 'guardians', guardians],
    placeholderData: keepPreviousData,
    queryFn: () =>
      body(
        api.POST('/v1/districts/{district}/sources/{source}:previewGuardians', {
          params: { path: { district, source } },
          body: { guardians },
        }),
      ),
  });
}
