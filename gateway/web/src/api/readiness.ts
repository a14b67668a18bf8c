import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, ApiError, body, type Schema } from './client';

const trendLength = 30;

/** The last reports, by revision: one of an old revision may have been asked for since. */
export function useTrend(district: string, checkId: string, product: string) {
  return useQuery({
    queryKey: [district, 'trend', checkId, product],
    queryFn: async () => {
      const trend = await body(
        api.GET('/v1/districts/{district}/readinessReports:trend', {
          params: { path: { district }, query: { checkId, product, pageSize: trendLength } },
        }),
      );
      return (trend.points ?? []).reverse().sort((a, b) => (a.revision ?? 0) - (b.revision ?? 0));
    },
  });
}

/**
 * How a report differs from that of an earlier revision, which the hub makes if there is none; without
 * one, from the report before. Null if there is nothing before it.
 */
export function useComparison(district: string, report: string, product: string, since?: number) {
  return useQuery({
    queryKey: [district, 'report', report, 'comparison', product, since ?? 0],
    queryFn: async () => {
      try {
        return await body(
          api.GET('/v1/districts/{district}/readinessReports/{report}:compare', {
            params: { path: { district, report }, query: { product, baseRevision: since } },
          }),
        );
      } catch (error) {
        if (error instanceof ApiError && error.reason === 'REPORT_BASE_NOT_FOUND') return null;
        throw error;
      }
    },
  });
}

/** All revisions that are kept, newest first. */
export function useKeptRevisions(district: string) {
  return useQuery({
    queryKey: [district, 'revisions', 'kept'],
    queryFn: async () => {
      const kept: Schema['Revision'][] = [];
      let pageToken = '';
      do {
        const page = await body(
          api.GET('/v1/districts/{district}/revisions', {
            params: { path: { district }, query: { pageSize: 1000, pageToken } },
          }),
        );
        kept.push(...(page.revisions ?? []));
        pageToken = page.nextPageToken ?? '';
      } while (pageToken);
      return kept;
    },
  });
}

export function useRetryReport(district: string, report: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () =>
      body(
        api.POST('/v1/districts/{district}/readinessReports/{report}:retry', {
          params: { path: { district, report } },
          body: {},
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: [district] }),
  });
}

export function useReadinessSettings(district: string) {
  return useQuery({
    queryKey: [district, 'readinessSettings'],
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/readinessSettings', { params: { path: { district } } }),
      ),
  });
}

export function useSaveReadinessSettings(district: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (settings: Schema['ReadinessSettings']) =>
      body(
        api.PATCH('/v1/districts/{district}/readinessSettings', {
          params: { path: { district } },
          body: settings,
        }),
      ),
    // Settings count in reports that are there, too.
    onSuccess: () => client.invalidateQueries({ queryKey: [district] }),
  });
}
