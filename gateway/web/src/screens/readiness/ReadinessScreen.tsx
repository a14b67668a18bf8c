import { Button, NativeSelect } from '@mantine/core';
import { useState } from 'react';
import { Link, useSearchParams } from 'react-router';
import { useCatalogue, useCreateReport, useMay } from '../../api/queries';
import { NothingConnected } from '../../components/NothingConnected';
import { Page } from '../../components/Page';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { screens } from '../../lib/urls';
import { ReportsTable } from './ReportsTable';

/** The address holds what is open: ?product=, ?report= and a ?check= for each open check. */
export function ReadinessScreen() {
  const { id: district } = useDistrict();
  const [parameters, setParameters] = useSearchParams();
  const product = parameters.get('product') ?? '';
  const catalogue = useCatalogue();
  const create = useCreateReport(district);
  const mayCreate = useMay('readiness.run');
  // A new report is the first of the list, so the list starts over at its first page.
  const [created, setCreated] = useState(0);

  return (
    <Page
      title="Data Readiness"
      intro="Find out whether your roster has what Securly products need. A report checks the newest data of your district and tells you what to fix in your student information system."
      actions={
        <>
          <Button component={Link} variant="default" to={screens.readinessSettings(district)}>
            What counts
          </Button>
          {mayCreate && (
            <Button
              loading={create.isPending}
              onClick={() => {
                create.mutate(undefined, {
                  onSuccess: () => {
                    setCreated(created + 1);
                  },
                });
              }}
            >
              New Readiness Report
            </Button>
          )}
        </>
      }
    >
      <NothingConnected />
      {create.isError && <ErrorState error={create.error} />}
      <p className="visually-hidden" role="status">
        {create.isSuccess ? 'The report is queued.' : ''}
      </p>
      <div className="toolbar">
        <NativeSelect
          label="For Product"
          description="Applies to the summary and to the download"
          value={product}
          onChange={(event) => {
            const value = event.currentTarget.value;
            setParameters((current) => {
              current.delete('product');
              if (value) current.set('product', value);
              return current;
            });
          }}
        >
          <option value="">All Products</option>
          {(catalogue.data?.products ?? []).map(({ productId, displayName }) => (
            <option key={productId} value={productId}>
              {displayName}
            </option>
          ))}
        </NativeSelect>
      </div>
      <ReportsTable key={created} product={product} />
    </Page>
  );
}
