import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { api, body } from './client';
import { quiet } from './queries';

export const schoolsPerPage = 50;

/** The schools that the caller may see, those that need action first. */
export function useSchools(district: string, pageToken: string) {
  return useQuery({
    queryKey: [district, 'schools', pageToken],
    placeholderData: keepPreviousData,
    refetchInterval: quiet,
    queryFn: () =>
      body(
        api.GET('/v1/districts/{district}/schools:status', {
          params: { path: { district }, query: { pageSize: schoolsPerPage, pageToken } },
        }),
      ),
  });
}
