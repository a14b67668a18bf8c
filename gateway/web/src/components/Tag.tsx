import type { Tone } from '../lib/states';

/** A word in a coloured box; the word alone says everything. */
export function Tag({ tone, children }: { tone: Tone; children: string }) {
  return <span className={`tag tag-${tone}`}>{children}</span>;
}
