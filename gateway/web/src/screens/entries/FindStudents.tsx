import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schema } from '../../api/client';
import { useRecords } from '../../api/queries';
import { ErrorState, LoadingLines } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { recordName } from '../../lib/entities';

export interface Child {
  id: string;
  name: string;
}

interface FindStudentsProps {
  taken: readonly Child[];
  onAdd: (child: Child) => void;
}

const most = 8;

/** Finds students of the roster by name or email. */
export function FindStudents({ taken, onAdd }: FindStudentsProps) {
  const [words, setWords] = useState('');
  const [asked, setAsked] = useState('');
  const find = () => {
    setAsked(words.trim());
  };
  return (
    <>
      <div className="filters">
        <TextInput
          label="Find students"
          description="By name or email"
          autoComplete="off"
          value={words}
          onChange={(event) => {
            setWords(event.currentTarget.value);
          }}
          onKeyDown={(event) => {
            // It finds students and does not send the form around it.
            if (event.key !== 'Enter') return;
            event.preventDefault();
            find();
          }}
        />
        <Button variant="default" disabled={!words.trim()} onClick={find}>
          Find
        </Button>
      </div>
      {asked && <Found words={asked} taken={taken} onAdd={onAdd} />}
    </>
  );
}

function Found({ words, taken, onAdd }: FindStudentsProps & { words: string }) {
  const { id: district } = useDistrict();
  const found = useRecords(district, 'users', { role: 'student', status: 'active', q: words }, '');
  if (found.isPending) return <LoadingLines label="Looking for students" lines={2} />;
  if (found.isError) {
    return <ErrorState error={found.error} onRetry={() => void found.refetch()} />;
  }
  const students = (found.data.records as Schema['User'][]).slice(0, most);
  if (students.length === 0) return <p role="status">There is no such student.</p>;
  return (
    <ul className="exceptions" aria-label="Students found">
      {students.map((student) => {
        const id = student.sourcedId ?? '';
        const name = recordName('users', student) || id;
        return (
          <li key={id}>
            <span>
              {name} <span className="soft">({student.email || id})</span>
            </span>
            <Button
              variant="default"
              size="compact-xs"
              disabled={taken.some((child) => child.id === id)}
              onClick={() => {
                onAdd({ id, name });
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
