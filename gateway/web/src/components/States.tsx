import { Button, Loader, Skeleton } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { ApiError } from '../api/client';
import { sentence } from '../lib/format';

export function Loading({ label }: { label: string }) {
  return (
    <div className="loading" role="status">
      <Loader size="sm" aria-hidden />
      <span>{label}…</span>
    </div>
  );
}

/** Lines that stand for content on its way. */
export function LoadingLines({ label, lines = 4 }: { label: string; lines?: number }) {
  return (
    <div role="status" className="loading-lines">
      <span className="visually-hidden">{label}…</span>
      {Array.from({ length: lines }, (_, line) => (
        <Skeleton key={line} height={20} />
      ))}
    </div>
  );
}

export function ErrorState({ error, onRetry }: { error: Error; onRetry?: () => void }) {
  const offline = !(error instanceof ApiError);
  return (
    <div className="notice notice-bad" role="alert">
      <IconAlertTriangle aria-hidden size={20} />
      <div>
        <p className="notice-title">
          {offline ? 'The server could not be reached.' : 'This did not work.'}
        </p>
        <p>{offline ? 'Check your connection, then try again.' : sentence(error.message)}</p>
        {error instanceof ApiError && error.traceId && (
          <p className="soft">
            If you ask for help, mention this number: <code>{error.traceId}</code>
          </p>
        )}
      </div>
      {onRetry && (
        <Button variant="default" size="xs" onClick={onRetry}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function EmptyState({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children}
    </div>
  );
}
