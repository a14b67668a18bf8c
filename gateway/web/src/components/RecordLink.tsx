import type { ReactNode } from 'react';
import { Link } from 'react-router';
import { useOrgs } from '../api/queries';
import { useDistrict } from '../lib/district';
import type { Entity } from '../lib/entities';
import { screens } from '../lib/urls';

interface RecordLinkProps {
  entity: Entity;
  id: string | undefined;
  children?: ReactNode;
}

export function RecordLink({ entity, id, children }: RecordLinkProps) {
  const { id: district } = useDistrict();
  if (!id) return null;
  return (
    <Link to={screens.record(district, entity, id)} className="record-link">
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
