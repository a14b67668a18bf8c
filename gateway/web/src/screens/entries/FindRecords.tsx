import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useRecords } from '../../api/queries';
import { ErrorState, LoadingLines } from '../../components/States';
import { useDistrict } from '../../lib/district';
import {
  type AnyRecord,
  type Entity,
  entityInfo,
  recordName,
  type Search,
} from '../../lib/entities';

export interface Found {
  id: string;
  name: string;
  record?: AnyRecord;
}

interface FindRecordsProps {
  label: string;
  entity: Entity;
  /** Narrows what is found. */
  search?: Search;
  taken: readonly Found[];
  onAdd: (found: Found) => void;
}

const most = 8;

/** Finds active records of the roster by their words, to be added to something. */
export function FindRecords(props: FindRecordsProps) {
  const [words, setWords] = useState('');
  const [asked, setAsked] = useState('');
  const find = () => {
    setAsked(words.trim());
  };
  return (
    <>
      <div className="filters">
        <TextInput
          label={props.label}
          description={`By ${entityInfo(props.entity)?.words?.toLowerCase() ?? 'id'}`}
          autoComplete="off"
          value={words}
          onChange={(event) => {
            setWords(event.currentTarget.value);
          }}
          onKeyDown={(event) => {
            // It finds and does not send the form around it.
            if (event.key !== 'Enter') return;
            event.preventDefault();
            find();
          }}
        />
        <Button
          variant="default"
          aria-label={`${props.label} now`}
          disabled={!words.trim()}
          onClick={find}
        >
          Find
        </Button>
      </div>
      {asked && <Answer {...props} words={asked} />}
    </>
  );
}

function Answer({
  label,
  entity,
  search,
  taken,
  onAdd,
  words,
}: FindRecordsProps & { words: string }) {
  const { id: district } = useDistrict();
  const found = useRecords(district, entity, { ...search, status: 'active', q: words }, '');
  if (found.isPending) return <LoadingLines label="Looking" lines={2} />;
  if (found.isError) {
    return <ErrorState error={found.error} onRetry={() => void found.refetch()} />;
  }
  if (found.data.records.length === 0) {
    return <p role="status">There is nothing by these words in the roster.</p>;
  }
  return (
    <ul className="exceptions" aria-label={`${label}: what was found`}>
      {found.data.records.slice(0, most).map((record) => {
        const id = record.sourcedId ?? '';
        const name = recordName(entity, record) || id;
        return (
          <li key={id}>
            <span>
              {name} <span className="soft">({('email' in record && record.email) || id})</span>
            </span>
            <Button
              variant="default"
              size="compact-xs"
              disabled={taken.some((other) => other.id === id)}
              onClick={() => {
                onAdd({ id, name, record });
              }}
            >
              Add<span className="visually-hidden"> {name}</span>
            </Button>
          </li>
        );
      })}
      {found.data.total > most && (
        <li className="soft">There are more; write more of the name to find them.</li>
      )}
    </ul>
  );
}
