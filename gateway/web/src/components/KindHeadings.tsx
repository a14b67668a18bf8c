import { changeKinds } from '../lib/changes';

interface KindHeadingsProps {
  kinds?: readonly { id: string; label: string }[];
}

/** The headings of columns that count, one for each kind of change. */
export function KindHeadings({ kinds = changeKinds }: KindHeadingsProps) {
  return kinds.map((kind) => (
    <th key={kind.id} scope="col" className="number">
      {kind.label}
    </th>
  ));
}
