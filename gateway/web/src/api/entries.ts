import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, ApiError, body, type Schema } from './client';

/** All that is entered by hand in a source. */
export function useEntries(district: string, source: string) {
  return useQuery({
    queryKey: [district, 'source', source, 'entries'],
    queryFn: async () => {
      const entries: Schema['ManualEntry'][] = [];
      let pageToken: string | undefined;
      do {
        const page = await body(
          api.GET('/v1/districts/{district}/sources/{source}/entries', {
            params: { path: { district, source }, query: { pageSize: 1000, pageToken } },
          }),
        );
        entries.push(...(page.entries ?? []));
        pageToken = page.nextPageToken || undefined;
      } while (pageToken);
      return entries;
    },
  });
}

/** What is entered of one record; null if nothing is. */
export function useEntry(district: string, source: string, entity: string, sourcedId: string) {
  return useQuery({
    enabled: source !== '',
    queryKey: [district, 'source', source, 'entries', entity, sourcedId],
    queryFn: async () => {
      try {
        return await body(
          api.GET('/v1/districts/{district}/sources/{source}/entries:get', {
            params: { path: { district, source }, query: { entity, sourcedId } },
          }),
        );
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      }
    },
  });
}

function useRefreshEntries(district: string, source: string) {
  const client = useQueryClient();
  return () => client.invalidateQueries({ queryKey: [district, 'source', source, 'entries'] });
}

export function usePutEntry(district: string, source: string) {
  return useMutation({
    mutationFn: (entry: Schema['ManualEntry']) =>
      body(
        api.PUT('/v1/districts/{district}/sources/{source}/entries', {
          params: { path: { district, source } },
          body: entry,
        }),
      ),
    onSuccess: useRefreshEntries(district, source),
  });
}

export function useDeleteEntry(district: string, source: string) {
  return useMutation({
    mutationFn: (query: { entity: string; sourcedId: string }) =>
      body(
        api.DELETE('/v1/districts/{district}/sources/{source}/entries', {
          params: { path: { district, source }, query },
        }),
      ),
    onSuccess: useRefreshEntries(district, source),
  });
}
