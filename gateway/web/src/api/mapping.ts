import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { api, body, type Schema } from './client';

/** What a mapping makes of the newest package, and the mapping that fits it; nothing is kept. */
export function useMappingPreview(
  district: string,
  source: string,
  mapping: Schema['Mapping'] | undefined,
) {
  return useQuery({
    queryKey: [district, 'source', source, 'mapping', mapping],
    placeholderData: keepPreviousData,
    // It reads a package, which may have to be fetched first.
    staleTime: Infinity,
    queryFn: () =>
      body(
        api.POST('/v1/districts/{district}/sources/{source}:previewMapping', {
          params: { path: { district, source } },
          body: { mapping },
        }),
      ),
  });
}
