import { Button } from '@mantine/core';
import { Link } from 'react-router';
import { useMay } from '../../api/queries';
import { useSources } from '../../api/sources';
import { useDistrict } from '../../lib/district';
import type { Entity } from '../../lib/entities';
import { queryString, screens } from '../../lib/urls';

/** The way from a record to its correction; without a source of entries, to one. */
export function CorrectByHand({ entity, id }: { entity: Entity; id: string }) {
  const { id: district } = useDistrict();
  const mayWrite = useMay('sources.write');
  const sources = useSources(district);
  if (!mayWrite || !sources.data) return null;
  const manual = sources.data.find(
    ({ connector, stopped }) => connector === 'manual' && !stopped,
  )?.sourceId;
  return (
    <Button
      component={Link}
      variant="default"
      to={
        manual
          ? screens.entry(district, manual, { entity, id })
          : screens.connect(district) + queryString({ connector: 'manual' })
      }
      title={manual ? undefined : 'Set up a source of what is entered by hand first'}
    >
      Correct by hand
    </Button>
  );
}
