import { Button } from '@mantine/core';
import { useMay } from '../../api/queries';
import { useRetryReport } from '../../api/readiness';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';

/** Has a report that failed made again. */
export function RetryReport({ report }: { report: string }) {
  const { id: district } = useDistrict();
  const mayRun = useMay('readiness.run');
  const retry = useRetryReport(district, report);
  if (!mayRun) return null;
  return (
    <>
      {retry.isError && <ErrorState error={retry.error} />}
      <Button
        variant="default"
        size="xs"
        loading={retry.isPending}
        aria-label={`Try report ${report} again`}
        onClick={() => {
          retry.mutate();
        }}
      >
        Try again
      </Button>
    </>
  );
}
