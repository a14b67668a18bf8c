import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, ApiError, body, type Schema } from './client';

const trendLength = 30;

/** The last reports, oldest first. */
export function useTrend(district: string, checkId: string, product: string) {
  return useQuery({
    queryKey: [district, 'trend', checkId, product],
    queryFn: async () => {
      const trend = await body(
        api.GET('/v1/districts/{district}/readinessReports:trend', {
          params: { path: { district }, query: { checkId, product, pageSize: trendLength } },
        }),
      );
      return (trend.points ?? []).reverse();
    },
  });
}

/** How a report differs from the one before it; null if there is none before it. */
export function useComparison(district: string, report: string, product: string) {
  return useQuery({
    queryKey: [district, 'report', report, 'comparison', product],
    queryFn: async () => {
      try {
        return await body(
          api.GET('/v1/districts/{district}/readinessReports/{report}:compare', {
            params: { path: { district, report }, query: { product } },
          }),
        );
      } catch (error) {
        if (error instanceof ApiError && error.reason === 'REPORT_BASE_NOT_FOUND') return null;
        throw error;
      }
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
