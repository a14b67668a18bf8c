import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, body, type Schema } from './client';

export const revisionsPerPage = 25;
export const changesPerPage = 50;

export interface ChangeFilter {
  entity: string;
  kind: string;
}

/** A list of changes that can be looked through: of two revisions, or of a sync. */
export interface ChangeList {
  /** Tells it from every other list. */
  key: readonly string[];
  page: (
    filter: ChangeFilter,
    pageToken: string,
  ) => Promise<Pick<Schema['DiffRevisionsResponse'], 'changes' | 'nextPageToken' | 'totalSize'>>;
}

function diff(
  district: string,
  query: { from: string; to: string; pageSize: number } & Partial<ChangeFilter> & {
      pageToken?: string;
    },
) {
  return body(
    api.GET('/v1/districts/{district}/revisions:diff', { params: { path: { district }, query } }),
  );
}

/** What leads from one revision to another; both are known, so that no page is of another list. */
export function revisionChanges(district: string, from: number, to: number): ChangeList {
  return {
    key: [district, 'diff', String(from), String(to)],
    page: (filter, pageToken) =>
      diff(district, {
        from: String(from),
        to: String(to),
        ...filter,
        pageToken,
        pageSize: changesPerPage,
      }),
  };
}

export function syncChanges(district: string, sync: string, state: string): ChangeList {
  return {
    key: [district, 'sync', sync, 'changes', state],
    page: (filter, pageToken) =>
      body(
        api.GET('/v1/districts/{district}/syncs/{sync}/changes', {
          params: {
            path: { district, sync },
            query: { ...filter, pageToken, pageSize: changesPerPage },
          },
        }),
      ),
  };
}

export function useChanges(list: ChangeList, filter: ChangeFilter, pageToken: string) {
  return useQuery({
    queryKey: [...list.key, filter, pageToken],
    placeholderData: keepPreviousData,
    queryFn: () => list.page(filter, pageToken),
  });
}

/** How much two revisions differ in, and which revisions those are if a date was given. */
export function useDiff(district: string, from: string, to: string, enabled = true) {
  return useQuery({
    enabled,
    queryKey: [district, 'diff', from, to],
    queryFn: () => diff(district, { from, to, pageSize: 1 }),
  });
}

export function useRevisions(district: string, pageToken: string) {
  return useQuery({
    queryKey: [district, 'revisions', pageToken],
    placeholderData: keepPreviousData,
    refetchInterval: 30_000,
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/revisions', {
          params: { path: { district }, query: { pageSize: revisionsPerPage, pageToken } },
        }),
      ),
  });
}

export interface RevisionInfo {
  /** Undefined if it is not kept any more. */
  revision: Schema['Revision'] | undefined;
  /** The newest one. */
  head: number;
}

/** One revision of the list, and the newest beside it. */
export function useRevision(district: string, revision: number) {
  return useQuery({
    queryKey: [district, 'revision', revision],
    queryFn: async (): Promise<RevisionInfo> => {
      let head = 0;
      let pageToken = '';
      do {
        const page = await body(
          api.GET('/v1/districts/{district}/revisions', {
            params: { path: { district }, query: { pageSize: 1000, pageToken } },
          }),
        );
        const revisions = page.revisions ?? [];
        head ||= revisions[0]?.revision ?? 0;
        const found = revisions.find((candidate) => candidate.revision === revision);
        if (found) return { revision: found, head };
        pageToken = page.nextPageToken ?? '';
      } while (pageToken);
      return { revision: undefined, head };
    },
  });
}

/** Goes back to a revision from the one that was looked at; refused if there is a newer one. */
export function useRestore(district: string, revision: number) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (head: number) =>
      body(
        api.POST('/v1/districts/{district}/revisions/{revision}:restore', {
          params: { path: { district, revision } },
          body: { head },
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: [district] }),
  });
}
