import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { api, body, type Schema } from './client';

/** What sharing settings keep and leave out of what a source has delivered; nothing is changed. */
export function useSharingPreview(district: string, source: string, sharing: Schema['Sharing']) {
  return useQuery({
    queryKey: [district, 'source', source, 'sharing', sharing],
    placeholderData: keepPreviousData,
    queryFn: () =>
      body(
        api.POST('/v1/districts/{district}/sources/{source}:previewSharing', {
          params: { path: { district, source } },
          body: { sharing },
        }),
      ),
  });
}
