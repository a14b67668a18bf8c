import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, ApiError, body, type Schema } from './client';
import { quiet } from './queries';

/** How often a source is looked at: syncs of it start by themselves, too. */
const standing = 5_000;

/** Ways to get at rosters, and the vendors that they fit. */
export function useConnectors() {
  return useQuery({
    queryKey: ['connectors'],
    staleTime: Infinity,
    queryFn: () => body(api.GET('/v1/connectors')),
  });
}

export function useSources(district: string) {
  return useQuery({
    queryKey: [district, 'sources'],
    refetchInterval: quiet,
    queryFn: async () => {
      const sources: Schema['Source'][] = [];
      let pageToken: string | undefined;
      do {
        const page = await body(
          api.GET('/v1/districts/{district}/sources', {
            params: { path: { district }, query: { pageSize: 1000, pageToken } },
          }),
        );
        sources.push(...(page.sources ?? []));
        pageToken = page.nextPageToken || undefined;
      } while (pageToken);
      return sources;
    },
  });
}

export function useSource(district: string, source: string) {
  return useQuery({
    queryKey: [district, 'source', source],
    refetchInterval: standing,
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/sources/{source}', {
          params: { path: { district, source } },
        }),
      ),
  });
}

function useRefresh(district: string) {
  const client = useQueryClient();
  return () => client.invalidateQueries({ queryKey: [district] });
}

export interface SourceInput {
  displayName: string;
  connector?: string;
  settings: Record<string, unknown>;
  secrets?: Record<string, string>;
  schedule?: Schema['Schedule'] | null;
  staleAfterHours?: number;
  holdPolicy?: Schema['HoldPolicy'];
  sharing?: Schema['Sharing'];
  guardians?: Schema['GuardianFile'];
  mapping?: Schema['Mapping'];
  etag?: string;
}

// The settings are whatever the connector's schema says, which no generated type knows.
const asSource = (input: SourceInput) => input as unknown as Schema['Source'];

export function useCreateSource(district: string) {
  return useMutation({
    mutationFn: ({ sourceId, source }: { sourceId: string; source: SourceInput }) =>
      body(
        api.POST('/v1/districts/{district}/sources', {
          params: { path: { district }, query: { sourceId } },
          body: asSource(source),
        }),
      ),
    onSuccess: useRefresh(district),
  });
}

export function useUpdateSource(district: string, source: string) {
  return useMutation({
    mutationFn: (input: Partial<SourceInput>) =>
      body(
        api.PATCH('/v1/districts/{district}/sources/{source}', {
          params: { path: { district, source } },
          body: asSource(input as SourceInput),
        }),
      ),
    onSuccess: useRefresh(district),
  });
}

export function useTestSource(district: string, source: string) {
  return useMutation({
    mutationFn: (uploadId: string) =>
      body(
        api.POST('/v1/districts/{district}/sources/{source}:test', {
          params: { path: { district, source } },
          body: { uploadId },
        }),
      ),
  });
}

export function useStartSync(district: string, source: string) {
  return useMutation({
    mutationFn: (request: Schema['StartSyncBody']) =>
      body(
        api.POST('/v1/districts/{district}/sources/{source}:sync', {
          params: { path: { district, source } },
          body: request,
        }),
      ),
    onSuccess: useRefresh(district),
  });
}

export function usePause(district: string, source: string) {
  return useMutation({
    mutationFn: (pause: Schema['PauseSourceBody']) =>
      body(
        api.POST('/v1/districts/{district}/sources/{source}:pause', {
          params: { path: { district, source } },
          body: pause,
        }),
      ),
    onSuccess: useRefresh(district),
  });
}

export function useResume(district: string, source: string) {
  return useMutation({
    mutationFn: () =>
      body(
        api.POST('/v1/districts/{district}/sources/{source}:resume', {
          params: { path: { district, source } },
          body: {},
        }),
      ),
    onSuccess: useRefresh(district),
  });
}

/** Stops a source, with its records as they are or with a sync that removes them. */
export function useRemoveSource(district: string, source: string) {
  const refresh = useRefresh(district);
  return useMutation({
    mutationFn: (records: 'freeze' | 'remove') =>
      body(
        api.DELETE('/v1/districts/{district}/sources/{source}', {
          params: { path: { district, source }, query: { records } },
        }),
      ),
    onSuccess: () => {
      // Not waited for: the source may be gone, and the caller goes elsewhere.
      void refresh();
    },
  });
}

/** A new password for dropping files; the answer is the only place where it is. */
export function useResetDropPassword(district: string, source: string) {
  return useMutation({
    mutationFn: () =>
      body(
        api.POST('/v1/districts/{district}/sources/{source}:resetDropPassword', {
          params: { path: { district, source } },
          body: {},
        }),
      ),
    // The answer is not kept longer than the screen that shows it.
    gcTime: 0,
    onSuccess: useRefresh(district),
  });
}

interface Uploaded {
  uploadId?: string;
  files?: { name?: string }[];
}

/** Keeps a package for a later sync: a zip, or CSV files. */
export function useUpload(district: string, source: string) {
  return useMutation({
    mutationFn: async (files: readonly File[]) => {
      const form = new FormData();
      for (const file of files) form.append('file', file);
      const answer = await fetch(
        `/v1/districts/${encodeURIComponent(district)}/sources/${encodeURIComponent(source)}:upload`,
        { method: 'POST', body: form },
      );
      const content: unknown = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new ApiError(answer.status, content as Partial<Schema['Problem']>);
      return content as Uploaded;
    },
  });
}
