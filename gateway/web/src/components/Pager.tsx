import { Button } from '@mantine/core';
import { useState } from 'react';
import { formatRange } from '../lib/format';

interface PagerProps {
  label: string;
  page: number;
  pageSize: number;
  shown: number;
  /** Undefined where the server does not count. */
  total?: number;
  busy?: boolean;
  onFirst?: () => void;
  onPrevious?: () => void;
  onNext?: () => void;
}

/** Paging controls; a control without a handler leads nowhere and is off. */
export function Pager(props: PagerProps) {
  const { label, page, pageSize, shown, total, busy } = props;
  const range =
    total === undefined ? `Page ${String(page)}` : formatRange(page, pageSize, shown, total);
  return (
    <nav className="pager" aria-label={label}>
      <span className="pager-range" role="status">
        {range}
      </span>
      <div className="pager-buttons">
        {page > 2 && <Step name="First" onClick={props.onFirst} busy={busy} />}
        <Step name="Previous" onClick={props.onPrevious} busy={busy} />
        <Step name="Next" onClick={props.onNext} busy={busy} />
      </div>
    </nav>
  );
}

function Step(props: {
  name: string;
  onClick: (() => void) | undefined;
  busy: boolean | undefined;
}) {
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
export function useTrail() {
  const [trail, setTrail] = useState(['']);
  const page = trail.length;
  return {
    token: trail.at(-1) ?? '',
    page,
    controls: (nextToken: string | undefined) => ({
      onFirst: () => {
        setTrail(['']);
      },
      onPrevious:
        page > 1
          ? () => {
              setTrail(trail.slice(0, -1));
            }
          : undefined,
      onNext: nextToken
        ? () => {
            setTrail([...trail, nextToken]);
          }
        : undefined,
    }),
  };
}
