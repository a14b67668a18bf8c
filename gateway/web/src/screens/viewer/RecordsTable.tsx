import { Button } from '@mantine/core';
import {
  type ColumnDef,
  type ExpandedState,
  flexRender,
  getCoreRowModel,
  useReactTable,
} from '@tanstack/react-table';
import { Fragment, useMemo, useState } from 'react';
import { TableScroll } from '../../components/TableScroll';
import { type AnyRecord, type Entity, entityInfo } from '../../lib/entities';
import { columnsFor } from './columns';
import { RawData } from './RawData';
import { Related } from './Related';

interface RecordsTableProps {
  entity: Entity;
  records: AnyRecord[];
  busy: boolean;
}

export function RecordsTable({ entity, records, busy }: RecordsTableProps) {
  const [expanded, setExpanded] = useState<ExpandedState>({});
  const columns = useMemo<ColumnDef<AnyRecord>[]>(
    () => [
      ...columnsFor(entity).map(({ id, header, cell }): ColumnDef<AnyRecord> => ({
        id,
        header,
        cell: ({ row }) => cell(row.original),
      })),
      {
        id: 'raw',
        header: () => <span className="visually-hidden">Raw data</span>,
        cell: ({ row }) => (
          <Button
            variant="default"
            size="compact-xs"
            aria-expanded={row.getIsExpanded()}
            aria-controls={row.getIsExpanded() ? `raw-${row.id}` : undefined}
            onClick={row.getToggleExpandedHandler()}
          >
            {row.getIsExpanded() ? 'Hide Raw Data' : 'Show Raw Data'}
            <span className="visually-hidden"> of {row.original.sourcedId}</span>
          </Button>
        ),
      },
    ],
    [entity],
  );
  // The library's table is a stable object whose methods read its newest state, which suits this
  // component: it renders all of it or nothing.
  // eslint-disable-next-line react-hooks/incompatible-library
  const table = useReactTable({
    data: records,
    columns,
    state: { expanded },
    onExpandedChange: setExpanded,
    getCoreRowModel: getCoreRowModel(),
    getRowCanExpand: () => true,
  });
  const label = entityInfo(entity)?.label ?? entity;

  return (
    <TableScroll label={`Table of ${label}`}>
      <table className="table records" aria-busy={busy}>
        <thead>
          {table.getHeaderGroups().map((group) => (
            <tr key={group.id}>
              {group.headers.map((header) => (
                <th key={header.id} scope="col">
                  {flexRender(header.column.columnDef.header, header.getContext())}
                </th>
              ))}
            </tr>
          ))}
        </thead>
        <tbody>
          {table.getRowModel().rows.map((row) => (
            <Fragment key={row.id}>
              <tr>
                {row.getVisibleCells().map((cell) => (
                  <td key={cell.id} className={`column-${cell.column.id}`}>
                    {flexRender(cell.column.columnDef.cell, cell.getContext())}
                  </td>
                ))}
              </tr>
              {row.getIsExpanded() && (
                <tr className="detail-row">
                  <td colSpan={columns.length} id={`raw-${row.id}`}>
                    <div className="detail">
                      <Related entity={entity} record={row.original} />
                      <RawData record={row.original} />
                    </div>
                  </td>
                </tr>
              )}
            </Fragment>
          ))}
        </tbody>
      </table>
    </TableScroll>
  );
}
