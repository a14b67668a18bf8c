import { Button } from '@mantine/core';
import { useState } from 'react';
import { formatRange } from '../lib/format';

/** A way through a list whose pages are known by tokens. */
interface Paging {
  /** Counted from 1. */
  page: number;
  controls: (next: string | undefined) => Controls;
}

/** A control without a handler leads nowhere and is off. */
interface Controls {
  onFirst: () => void;
  onPrevious: (() => void) | undefined;
  onNext: (() => void) | undefined;
}

interface PagerProps {
  label: string;
  paging: Paging;
  /** The token of the next page. */
  next: string | undefined;
  pageSize: number;
  shown: number;
  /** Undefined where the server does not count; then a single page needs no controls. */
  total?: number;
  busy: boolean;
}

/** Paging controls. */
export function Pager({ label, paging, next, pageSize, shown, total, busy }: PagerProps) {
  const { page } = paging;
  if (total === undefined && page === 1 && !next) return null;
  const { onFirst, onPrevious, onNext } = paging.controls(next);
  return (
    <nav className="pager" aria-label={label}>
      <span className="pager-range" role="status">
        {total === undefined ? `Page ${String(page)}` : formatRange(page, pageSize, shown, total)}
      </span>
      <div className="pager-buttons">
        {page > 2 && <Step name="First" onClick={onFirst} busy={busy} />}
        <Step name="Previous" onClick={onPrevious} busy={busy} />
        <Step name="Next" onClick={onNext} busy={busy} />
      </div>
    </nav>
  );
}

function Step(props: { name: string; onClick: (() => void) | undefined; busy: boolean }) {
  return (
    <Button
      variant="default"
      size="xs"
      // Stays focusable, at the ends and while a page loads, so that a keyboard keeps its place.
      aria-disabled={!props.onClick}
      data-disabled={!props.onClick || undefined}
      onClick={() => {
        if (!props.busy) props.onClick?.();
      }}
    >
      {props.name}
    </Button>
  );
}

/** The way through a list whose pages are known by tokens: the one on screen is the last. */
export function useTrail(): Paging & { token: string } {
  const [trail, setTrail] = useState(['']);
  const page = trail.length;
  return {
    token: trail.at(-1) ?? '',
    page,
    controls: (next) => ({
      onFirst: () => {
        setTrail(['']);
      },
      onPrevious:
        page > 1
          ? () => {
              setTrail(trail.slice(0, -1));
            }
          : undefined,
      onNext: next
        ? () => {
            setTrail([...trail, next]);
          }
        : undefined,
    }),
  };
}
