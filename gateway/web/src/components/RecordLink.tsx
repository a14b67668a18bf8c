import type { ReactNode } from 'react';
import { Link, useSearchParams } from 'react-router';
import { useOrgs } from '../api/queries';
import { useDistrict } from '../lib/district';
import type { Entity } from '../lib/entities';
import { screens } from '../lib/urls';

interface RecordLinkProps {
  entity: Entity;
  id: string | undefined;
  /** The revision or date to show it at, where that is not the one of this screen. */
  asOf?: string;
  children?: ReactNode;
}

/** The revision or date that this screen shows; undefined for the newest. */
export function useAsOf(): string | undefined {
  const [parameters] = useSearchParams();
  return parameters.get('asOf') ?? undefined;
}

export function RecordLink({ entity, id, asOf, children }: RecordLinkProps) {
  const { id: district } = useDistrict();
  const shown = useAsOf();
  if (!id) return null;
  return (
    <Link to={screens.record(district, entity, id, asOf ?? shown)} className="record-link">
      {children ?? id}
    </Link>
  );
}

/** A link to a school by its name, or by its id where the roster has no such school. */
export function OrgLink({ id }: { id: string | undefined }) {
  const { id: district } = useDistrict();
  const orgs = useOrgs(district);
  return (
    <RecordLink entity="orgs" id={id}>
      {(id && orgs.data?.get(id)?.name) || id}
    </RecordLink>
  );
}
