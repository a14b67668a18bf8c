import { Button } from '@mantine/core';
import { useState } from 'react';
import { Link } from 'react-router';
import type { Schema } from '../../api/client';
import { useExplanation } from '../../api/explain';
import { useLimited } from '../../api/queries';
import { FieldValue } from '../../components/FieldValue';
import { ErrorState, LoadingLines } from '../../components/States';
import { TableScroll } from '../../components/TableScroll';
import { useDistrict } from '../../lib/district';
import type { Entity } from '../../lib/entities';
import { formatDateTime, formatNumber, localTimes, sentence } from '../../lib/format';
import { syncState } from '../../lib/states';
import { screens } from '../../lib/urls';

interface ExplanationProps {
  entity: Entity;
  id: string;
  /** The record is not there, which is what has to be explained, at once. */
  missing?: boolean;
}

/** Where a record comes from, or why an id is not here. */
export function Explanation({ entity, id, missing = false }: ExplanationProps) {
  const [open, setOpen] = useState(missing);
  // Rows of files know no schools, so who is limited to some may not see them.
  if (useLimited()) return null;
  return (
    <section className="explanation" aria-labelledby="explanation">
      <h2 id="explanation">
        {missing ? 'Why is this id not here?' : 'Where does this come from?'}
      </h2>
      {open ? (
        <Answer entity={entity} id={id} missing={missing} />
      ) : (
        <>
          <p className="soft">
            Follows the record back through the sources to the rows of the files that were
            delivered. It can take a few seconds.
          </p>
          <Button
            variant="default"
            onClick={() => {
              setOpen(true);
            }}
          >
            Find out
          </Button>
        </>
      )}
    </section>
  );
}

function Answer({ entity, id, missing }: Required<ExplanationProps>) {
  const { id: district } = useDistrict();
  const explanation = useExplanation(district, entity, id);
  if (explanation.isPending) {
    return <LoadingLines label="Looking through sources and packages" />;
  }
  if (explanation.isError) {
    return <ErrorState error={explanation.error} onRetry={() => void explanation.refetch()} />;
  }
  const {
    verdict,
    message = '',
    nextStep = '',
    reasons = [],
    stored,
    sources = [],
  } = explanation.data;
  const there = verdict === 'present';
  const others = there ? reasons : reasons.slice(1);
  return (
    <>
      <div className={`notice ${there ? 'notice-neutral' : 'notice-warning'}`} role="status">
        <div>
          <Said message={message} nextStep={nextStep} reason={there ? undefined : reasons[0]} />
          {there && missing && (
            <p>
              Your other search fields leave it out.{' '}
              <Link to={screens.record(district, entity, id)}>Look at the record</Link>
            </p>
          )}
        </div>
      </div>
      {others.length > 0 && (
        <>
          <h3>{there ? 'What is about to change it' : 'What else is known'}</h3>
          <ul className="steps">
            {others.map((reason, index) => (
              <li key={index}>
                <Said
                  message={reason.message ?? ''}
                  nextStep={reason.nextStep ?? ''}
                  reason={reason}
                />
              </li>
            ))}
          </ul>
        </>
      )}
      {sources.map((source) => (
        <Evidence key={source.source} evidence={source} />
      ))}
      {stored && !missing && <Stored stored={stored} />}
    </>
  );
}

interface SaidProps {
  message: string;
  nextStep: string;
  reason: Schema['ExplainReason'] | undefined;
}

/** What is so, what to do about it, and where to look. */
function Said({ message, nextStep, reason }: SaidProps) {
  const { id: district, timeZone } = useDistrict();
  return (
    <>
      <p className="notice-title">{sentence(localTimes(message, timeZone))}</p>
      {nextStep && <p>What to do: {sentence(nextStep)}</p>}
      {reason && (reason.sync || reason.revision) && (
        <p>
          {reason.sync && <Link to={screens.sync(district, reason.sync)}>See the sync</Link>}
          {reason.sync && reason.revision ? ' · ' : ''}
          {reason.revision ? (
            <Link to={screens.revision(district, reason.revision)}>
              See revision {formatNumber(reason.revision)}
            </Link>
          ) : null}
        </p>
      )}
    </>
  );
}

/** What one source says of the id, package by package. */
function Evidence({ evidence }: { evidence: Schema['SourceEvidence'] }) {
  const { id: district, timeZone } = useDistrict();
  const { source = '', has, sync, rules = [], packages = [] } = evidence;
  return (
    <section
      className="card panel evidence"
      aria-label={`Source ${evidence.displayName ?? source}`}
    >
      <h3>
        <Link to={screens.source(district, source)}>{evidence.displayName || source}</Link>
      </h3>
      <p>
        {has ? 'This source has the record.' : 'This source does not have it now.'}
        {sync && (
          <>
            {' '}
            It was last read by{' '}
            <Link to={screens.sync(district, sync)}>
              the sync of {formatDateTime(evidence.syncTime, timeZone)}
            </Link>
            .
          </>
        )}
      </p>
      {rules.length > 0 && (
        <>
          <p>What is done to what it delivers:</p>
          <ul className="steps">
            {rules.map((rule) => (
              <li key={rule}>{sentence(rule)}</li>
            ))}
          </ul>
        </>
      )}
      {packages.map((found) => (
        <Package key={found.uploadId} found={found} />
      ))}
    </section>
  );
}

function Package({ found }: { found: Schema['PackageEvidence'] }) {
  const { id: district, timeZone } = useDistrict();
  const { rows = [], references = [], unread, sync } = found;
  const state = syncState(found.syncState).label.toLowerCase();
  return (
    <div className="package">
      <h4>
        Package of {formatDateTime(found.createTime, timeZone)}
        {sync && (
          <>
            {' '}
            (<Link to={screens.sync(district, sync)}>sync {state}</Link>)
          </>
        )}
      </h4>
      {unread && <p className="soft">{sentence(unread)}</p>}
      {!unread && rows.length === 0 && <p className="soft">It has no row of this record.</p>}
      {rows.map((row) => (
        <Row key={`${row.file ?? ''} ${String(row.row)}`} row={row} />
      ))}
      {references.length > 0 && (
        <details className="more">
          <summary>{formatNumber(references.length)} rows of others name it</summary>
          {references.map((row) => (
            <Row key={`${row.file ?? ''} ${String(row.row)}`} row={row} />
          ))}
        </details>
      )}
    </div>
  );
}

function Row({ row }: { row: Schema['RowEvidence'] }) {
  const place = `${row.file ?? ''}, row ${formatNumber(row.row)}`;
  const values = row.values ?? [];
  return (
    <>
      <p>
        <code>{row.file}</code>, row {formatNumber(row.row)}
      </p>
      {values.length > 0 && (
        <TableScroll label={`Values of ${place}`}>
          <table className="table compact">
            <thead>
              <tr>
                {values.map(({ column }) => (
                  <th key={column} scope="col">
                    {column}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              <tr>
                {values.map(({ column, value }) => (
                  <td key={column}>{value}</td>
                ))}
              </tr>
            </tbody>
          </table>
        </TableScroll>
      )}
      {(row.findings ?? []).length > 0 && (
        <ul className="steps">
          {row.findings?.map((finding, index) => (
            <li key={index}>
              {finding.column && <code>{finding.column}</code>}
              {finding.column && ': '}
              {sentence(finding.message ?? '')}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** What the roster has, field by field with the source of each. */
function Stored({ stored }: { stored: Schema['StoredRecord'] }) {
  const { id: district } = useDistrict();
  const fields = stored.fields ?? [];
  if (fields.length === 0) return null;
  return (
    <>
      <h3>What is stored, and where each value is from</h3>
      <TableScroll label="Stored values and their sources">
        <table className="table compact">
          <thead>
            <tr>
              <th scope="col">Field</th>
              <th scope="col">Value</th>
              <th scope="col">Source</th>
            </tr>
          </thead>
          <tbody>
            {fields.map((field) => (
              <tr key={field.field}>
                <th scope="row">{field.field}</th>
                <td className="reason">
                  <FieldValue json={field.value} />
                </td>
                <td>
                  {field.source ? (
                    <Link to={screens.source(district, field.source)}>{field.source}</Link>
                  ) : (
                    <span className="soft">Not known</span>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </>
  );
}
