import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, body, type Schema } from './client';

export function useDistrictSettings(district: string) {
  return useQuery({
    queryKey: [district, 'district'],
    queryFn: () => body(api.GET('/v1/districts/{district}', { params: { path: { district } } })),
  });
}

export function useSaveDistrict(district: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (settings: Schema['District']) =>
      body(
        api.PATCH('/v1/districts/{district}', { params: { path: { district } }, body: settings }),
      ),
    // Its name and its clocks are on every screen.
    onSuccess: async (saved) => {
      client.setQueryData([district, 'district'], saved);
      await client.invalidateQueries({ queryKey: ['districts'] });
    },
  });
}

export function useNotificationSettings(district: string) {
  return useQuery({
    queryKey: [district, 'notifications'],
    queryFn: () =>
      body(api.GET('/v1/districts/{district}/notifications', { params: { path: { district } } })),
  });
}

export function useSaveNotifications(district: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (settings: Schema['NotificationSettings']) =>
      body(
        api.PUT('/v1/districts/{district}/notifications', {
          params: { path: { district } },
          body: settings,
        }),
      ),
    onSuccess: (saved) => {
      client.setQueryData([district, 'notifications'], saved);
    },
  });
}

export function useTestNotification(district: string) {
  return useMutation({
    mutationFn: (email: string) =>
      body(
        api.POST('/v1/districts/{district}/notifications:test', {
          params: { path: { district } },
          body: { email },
        }),
      ),
  });
}
