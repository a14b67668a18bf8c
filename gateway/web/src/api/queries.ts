import {
  keepPreviousData,
  type QueryClient,
  queryOptions,
  useMutation,
  useQuery,
  useQueryClient,
} from '@tanstack/react-query';
import type { AnyRecord, Entity, Search } from '../lib/entities';
import { reportState, syncState } from '../lib/states';
import { api, ApiError, body, type Schema } from './client';

export const recordsPerPage = 100;
export const findingsPerPage = 25;
export const reportsPerPage = 20;
export const syncsPerPage = 10;

/** How often work in progress is looked at, and how often a quiet list. */
const live = 1_000;
export const quiet = 30_000;

/** Who is signed in; null for nobody. */
export const meQuery = queryOptions({
  queryKey: ['me'],
  staleTime: Infinity,
  queryFn: async () => {
    try {
      return await body(api.GET('/v1/me'));
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return null;
      throw error;
    }
  },
});

export function useMe() {
  return useQuery(meQuery);
}

/** Whether the account has a scope; what it may not do is not offered. */
export function useMay(scope: string): boolean {
  return useMe().data?.scopes?.includes(scope) ?? false;
}

/** Whether the account sees some schools of its district only. */
export function useLimited(): boolean {
  return (useMe().data?.schools ?? []).length > 0;
}

/** Shows the sign-in page, and keeps nothing of a district for whoever uses this browser next. */
export function forgetSession(client: QueryClient) {
  client.setQueryData(meQuery.queryKey, null);
  client.removeQueries({ predicate: (query) => query.queryKey[0] !== meQuery.queryKey[0] });
}

export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async () => {
      // A redirect to the sign-in page is an answer too: only a refusal counts.
      const response = await fetch('/auth/logout', { method: 'POST', redirect: 'manual' });
      if (response.status >= 400 && response.status !== 401) {
        throw new ApiError(response.status, {
          message: 'You could not be signed out. Please try again.',
        });
      }
    },
    onSuccess: () => {
      forgetSession(client);
    },
  });
}

export function useDistricts() {
  return useQuery({
    queryKey: ['districts'],
    staleTime: 60_000,
    queryFn: async () => {
      const districts: Schema['District'][] = [];
      let pageToken: string | undefined;
      do {
        const page = await body(
          api.GET('/v1/districts', { params: { query: { pageSize: 1000, pageToken } } }),
        );
        districts.push(...(page.districts ?? []));
        pageToken = page.nextPageToken || undefined;
      } while (pageToken);
      return districts;
    },
  });
}

export function useOverview(district: string) {
  return useQuery({
    queryKey: [district, 'overview'],
    queryFn: () =>
      body(api.GET('/v1/districts/{district}/overview', { params: { path: { district } } })),
    refetchInterval: (query) => {
      const { lastSync, lastReport } = query.state.data ?? {};
      const busy =
        (lastSync && !syncState(lastSync.state).final) ||
        (lastReport && !reportState(lastReport).final);
      return busy ? live : quiet;
    },
  });
}

/** Syncs of a district, or of one source of it, newest first. */
export function useSyncs(district: string, source: string, pageToken: string) {
  return useQuery({
    queryKey: [district, 'syncs', source, pageToken],
    placeholderData: keepPreviousData,
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/syncs', {
          params: { path: { district }, query: { source, pageSize: syncsPerPage, pageToken } },
        }),
      ),
    refetchInterval: (query) =>
      query.state.data?.syncs?.some((sync) => !syncState(sync.state).final) ? live : quiet,
  });
}

export function useSync(district: string, sync: string) {
  return useQuery({
    enabled: sync !== '',
    queryKey: [district, 'sync', sync],
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/syncs/{sync}', { params: { path: { district, sync } } }),
      ),
    refetchInterval: (query) => {
      const state = query.state.data?.state;
      if (state === 'ON_HOLD') return quiet;
      return state && !syncState(state).final ? live : false;
    },
  });
}

export function useSyncFindings(district: string, sync: string, pageToken: string) {
  return useQuery({
    queryKey: [district, 'sync', sync, 'findings', pageToken],
    placeholderData: keepPreviousData,
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/syncs/{sync}/findings', {
          params: { path: { district, sync }, query: { pageSize: findingsPerPage, pageToken } },
        }),
      ),
  });
}

/** The catalogue of checks and products; it changes with the program only. */
export function useCatalogue() {
  return useQuery({
    queryKey: ['readinessChecks'],
    staleTime: Infinity,
    queryFn: () => body(api.GET('/v1/readinessChecks')),
  });
}

export function useReports(district: string, pageToken: string) {
  return useQuery({
    queryKey: [district, 'reports', pageToken],
    placeholderData: keepPreviousData,
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/readinessReports', {
          params: { path: { district }, query: { pageSize: reportsPerPage, pageToken } },
        }),
      ),
    refetchInterval: (query) =>
      query.state.data?.readinessReports?.some((report) => !reportState(report).final)
        ? live
        : quiet,
  });
}

export function useReport(district: string, report: string, product: string) {
  return useQuery({
    queryKey: [district, 'report', report, product],
    placeholderData: keepPreviousData,
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/readinessReports/{report}', {
          params: { path: { district, report }, query: { product } },
        }),
      ),
    refetchInterval: (query) =>
      query.state.data && !reportState(query.state.data).final ? live : false,
  });
}

export function useCreateReport(district: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () =>
      body(
        api.POST('/v1/districts/{district}/readinessReports', {
          params: { path: { district } },
          body: {},
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: [district, 'reports'] }),
  });
}

export function useFindings(
  district: string,
  report: string,
  checkId: string,
  product: string,
  pageToken: string,
) {
  return useQuery({
    queryKey: [district, 'report', report, 'findings', checkId, product, pageToken],
    placeholderData: keepPreviousData,
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/readinessReports/{report}/findings', {
          params: {
            path: { district, report },
            query: { checkId, product, pageSize: findingsPerPage, pageToken },
          },
        }),
      ),
  });
}

export interface RecordPage {
  records: AnyRecord[];
  total: number;
  revision: number;
  nextPageToken: string;
}

async function listRecords(
  district: string,
  entity: Entity,
  search: Search,
  pageSize: number,
  pageToken: string,
): Promise<RecordPage> {
  const page = await body(
    api.GET('/v1/districts/{district}/{entity}', {
      params: { path: { district, entity }, query: { ...search, pageSize, pageToken } },
    }),
  );
  return {
    records: page[entity] ?? [],
    total: page.totalSize ?? 0,
    revision: page.revision ?? 0,
    nextPageToken: page.nextPageToken ?? '',
  };
}

export function useRecords(district: string, entity: Entity, search: Search, pageToken: string) {
  return useQuery({
    queryKey: [district, 'records', entity, search, pageToken],
    // A page of the same search may stay on screen while the next one loads; another search's may not.
    placeholderData: (previous: RecordPage | undefined, query) =>
      JSON.stringify(query?.queryKey.slice(0, 4)) ===
      JSON.stringify([district, 'records', entity, search])
        ? previous
        : undefined,
    queryFn: () => listRecords(district, entity, search, recordsPerPage, pageToken),
  });
}

/** All orgs of a district by id, for names beside ids and for the school filter. */
export function useOrgs(district: string) {
  return useQuery({
    queryKey: [district, 'orgs'],
    staleTime: 60_000,
    queryFn: async () => {
      const orgs = new Map<string, Schema['Org']>();
      let pageToken = '';
      do {
        const page = await listRecords(district, 'orgs', {}, 1000, pageToken);
        for (const org of page.records as Schema['Org'][]) orgs.set(org.sourcedId ?? '', org);
        pageToken = page.nextPageToken;
      } while (pageToken);
      return orgs;
    },
  });
}

export function useRecord(
  district: string,
  entity: Entity,
  sourcedId: string,
  asOf: string | undefined,
) {
  return useQuery({
    queryKey: [district, 'record', entity, sourcedId, asOf],
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/{entity}:get', {
          params: { path: { district, entity }, query: { sourcedId, asOf } },
        }),
      ),
  });
}

export function useHistory(district: string, entity: Entity, sourcedId: string) {
  return useQuery({
    queryKey: [district, 'history', entity, sourcedId],
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/{entity}:history', {
          params: { path: { district, entity }, query: { sourcedId } },
        }),
      ),
  });
}
