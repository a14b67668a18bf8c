import { Button } from '@mantine/core';
import type { ReactNode } from 'react';
import { ErrorState } from './States';

interface SaveBarProps {
  changed: boolean;
  busy: boolean;
  error: Error | null;
  onUndo: () => void;
  children?: ReactNode;
}

/** Below a form: saves it, takes its changes back, and says whether there are any. */
export function SaveBar({ changed, busy, error, onUndo, children }: SaveBarProps) {
  return (
    <div className="save-bar">
      {error && <ErrorState error={error} />}
      <div className="decision-actions">
        <Button type="submit" disabled={!changed} loading={busy}>
          Save changes
        </Button>
        <Button variant="default" disabled={!changed || busy} onClick={onUndo}>
          Undo changes
        </Button>
        {children}
        <span className="soft" role="status">
          {changed ? 'There are changes that are not saved.' : 'Everything is saved.'}
        </span>
      </div>
    </div>
  );
}
