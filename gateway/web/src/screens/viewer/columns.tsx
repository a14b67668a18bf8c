import type { ReactNode } from 'react';
import { OrgLink, RecordLink } from '../../components/RecordLink';
import { Tag } from '../../components/Tag';
import type { Schema } from '../../api/client';
import {
  type AnyRecord,
  type Entity,
  recordName,
  type RecordOf,
  roleLabel,
  statusLabels,
} from '../../lib/entities';

export interface RecordColumn<T> {
  id: string;
  header: string;
  cell: (record: T) => ReactNode;
}

type Ref = Schema['Ref'] | undefined;

function links(entity: Entity, refs: Ref[] | undefined): ReactNode {
  return list(
    refs?.map((ref) => <RecordLink key={ref?.sourcedId} entity={entity} id={ref?.sourcedId} />),
  );
}

/** One under the other: ids are long, and columns narrow. */
function list(items: ReactNode[] | undefined): ReactNode {
  if (!items || items.length === 0) return null;
  return <span className="stack">{items}</span>;
}

function yesNo(value: boolean | undefined): string {
  return value === undefined ? '' : value ? 'Yes' : 'No';
}

const status: RecordColumn<AnyRecord> = {
  id: 'status',
  header: 'Status',
  cell: (record) => {
    const word = record.status ?? '';
    return word ? (
      <Tag tone={word === 'active' ? 'good' : 'neutral'}>{statusLabels[word] ?? word}</Tag>
    ) : null;
  },
};

function own<E extends Entity>(entity: E): RecordColumn<RecordOf[E]> {
  return {
    id: 'sourcedId',
    header: 'Securly Internal ID',
    cell: (record) => <RecordLink entity={entity} id={record.sourcedId} />,
  };
}

const columnsOf: { [E in Entity]: RecordColumn<RecordOf[E]>[] } = {
  users: [
    own('users'),
    { id: 'name', header: 'Name', cell: (user) => recordName('users', user) },
    {
      id: 'roles',
      header: 'Role',
      cell: (user) => [...new Set(user.roles?.map((r) => roleLabel(r.role ?? '')))].join(', '),
    },
    { id: 'email', header: 'Email', cell: (user) => user.email },
    {
      id: 'orgs',
      header: 'Schools',
      cell: (user) => {
        const ids = new Set(user.roles?.map((role) => role.org?.sourcedId ?? ''));
        return list([...ids].filter(Boolean).map((id) => <OrgLink key={id} id={id} />));
      },
    },
    { id: 'grades', header: 'Grades', cell: (user) => user.grades?.join(', ') },
    status,
  ],
  enrollments: [
    own('enrollments'),
    {
      id: 'user',
      header: 'User',
      cell: (e) => <RecordLink entity="users" id={e.user?.sourcedId} />,
    },
    {
      id: 'class',
      header: 'Class',
      cell: (e) => <RecordLink entity="classes" id={e.class?.sourcedId} />,
    },
    { id: 'school', header: 'School', cell: (e) => <OrgLink id={e.school?.sourcedId} /> },
    { id: 'role', header: 'Role', cell: (e) => roleLabel(e.role ?? '') },
    { id: 'primary', header: 'Primary', cell: (e) => yesNo(e.primary) },
    { id: 'beginDate', header: 'Begins', cell: (e) => e.beginDate },
    { id: 'endDate', header: 'Ends', cell: (e) => e.endDate },
    status,
  ],
  classes: [
    own('classes'),
    { id: 'title', header: 'Title', cell: (c) => c.title },
    { id: 'classCode', header: 'Code', cell: (c) => c.classCode },
    {
      id: 'course',
      header: 'Course',
      cell: (c) => <RecordLink entity="courses" id={c.course?.sourcedId} />,
    },
    { id: 'school', header: 'School', cell: (c) => <OrgLink id={c.school?.sourcedId} /> },
    { id: 'terms', header: 'Terms', cell: (c) => links('academicSessions', c.terms) },
    { id: 'periods', header: 'Periods', cell: (c) => c.periods?.join(', ') },
    status,
  ],
  courses: [
    own('courses'),
    { id: 'title', header: 'Title', cell: (c) => c.title },
    { id: 'courseCode', header: 'Code', cell: (c) => c.courseCode },
    { id: 'org', header: 'School or district', cell: (c) => <OrgLink id={c.org?.sourcedId} /> },
    {
      id: 'schoolYear',
      header: 'School year',
      cell: (c) => <RecordLink entity="academicSessions" id={c.schoolYear?.sourcedId} />,
    },
    { id: 'grades', header: 'Grades', cell: (c) => c.grades?.join(', ') },
    status,
  ],
  academicSessions: [
    own('academicSessions'),
    { id: 'title', header: 'Title', cell: (s) => s.title },
    { id: 'type', header: 'Type', cell: (s) => roleLabel(s.type ?? '') },
    { id: 'startDate', header: 'Starts', cell: (s) => s.startDate },
    { id: 'endDate', header: 'Ends', cell: (s) => s.endDate },
    { id: 'schoolYear', header: 'School year', cell: (s) => s.schoolYear },
    {
      id: 'parent',
      header: 'Part of',
      cell: (s) => <RecordLink entity="academicSessions" id={s.parent?.sourcedId} />,
    },
    status,
  ],
  demographics: [
    own('demographics'),
    { id: 'user', header: 'User', cell: (d) => <RecordLink entity="users" id={d.sourcedId} /> },
    { id: 'birthDate', header: 'Birth date', cell: (d) => d.birthDate },
    { id: 'sex', header: 'Sex', cell: (d) => d.sex },
    status,
  ],
  orgs: [
    own('orgs'),
    { id: 'name', header: 'Name', cell: (org) => org.name },
    { id: 'type', header: 'Type', cell: (org) => roleLabel(org.type ?? '') },
    { id: 'identifier', header: 'Identifier', cell: (org) => org.identifier },
    { id: 'parent', header: 'Part of', cell: (org) => <OrgLink id={org.parent?.sourcedId} /> },
    status,
  ],
};

export function columnsFor(entity: Entity): RecordColumn<AnyRecord>[] {
  return columnsOf[entity] as RecordColumn<AnyRecord>[];
}
