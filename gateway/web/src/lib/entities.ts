import type { Schema } from '../api/client';

export interface RecordOf {
  users: Schema['User'];
  enrollments: Schema['Enrollment'];
  classes: Schema['Class'];
  courses: Schema['Course'];
  academicSessions: Schema['AcademicSession'];
  demographics: Schema['Demographics'];
  orgs: Schema['Org'];
}

export type Entity = keyof RecordOf;
export type AnyRecord = RecordOf[Entity];

export const searchFields = [
  'sourcedId',
  'role',
  'email',
  'orgId',
  'classId',
  'userId',
  'status',
  'schoolId',
  'q',
  'asOf',
] as const;

export type SearchField = (typeof searchFields)[number];
export type Search = Partial<Record<SearchField, string>>;

interface EntityInfo {
  id: Entity;
  label: string;
  one: string;
  description: string;
  /** Besides the Securly Internal ID, which every entity has. */
  fields: SearchField[];
  /** What `q` searches; undefined where a record has no words of its own. */
  words?: string;
}

export const entities: readonly EntityInfo[] = [
  {
    id: 'users',
    label: 'Users',
    one: 'User',
    description: 'Students, staff and guardians',
    fields: ['role', 'email', 'orgId', 'status', 'schoolId'],
    words: 'Name or email',
  },
  {
    id: 'enrollments',
    label: 'Enrollments',
    one: 'Enrollment',
    description: 'Who is in which class, and as what',
    fields: ['role', 'classId', 'userId', 'status', 'schoolId'],
  },
  {
    id: 'classes',
    label: 'Classes',
    one: 'Class',
    description: 'Sections with their course, school and terms',
    fields: ['status', 'schoolId'],
    words: 'Title or code',
  },
  {
    id: 'courses',
    label: 'Courses',
    one: 'Course',
    description: 'Entries of the course catalog',
    fields: ['status', 'schoolId'],
    words: 'Title or code',
  },
  {
    id: 'academicSessions',
    label: 'Academic Sessions',
    one: 'Academic session',
    description: 'School years, semesters and terms',
    fields: ['status'],
    words: 'Title',
  },
  {
    id: 'demographics',
    label: 'Demographics',
    one: 'Demographics',
    description: 'Demographic data of users',
    fields: ['role', 'status', 'schoolId'],
  },
  {
    id: 'orgs',
    label: 'Orgs',
    one: 'Org',
    description: 'Schools and other units of the district',
    fields: ['status'],
    words: 'Name',
  },
];

export function entityInfo(id: string | undefined): EntityInfo | undefined {
  return entities.find((entity) => entity.id === id);
}

export function isEntity(id: string | undefined): id is Entity {
  return entityInfo(id) !== undefined;
}

/** The search fields of an entity, in the order in which the form shows them. */
export function fieldsOf(entity: Entity): SearchField[] {
  const info = entityInfo(entity);
  return ['sourcedId', ...(info?.words ? (['q'] as const) : []), ...(info?.fields ?? []), 'asOf'];
}

/** What a record is called where there is room for one line. */
export function recordName(entity: Entity, record: AnyRecord): string {
  const named = record as Partial<
    Schema['User'] & Schema['Class'] & Schema['Org'] & Schema['Enrollment']
  >;
  switch (entity) {
    case 'users':
      return [named.givenName, named.familyName].filter(Boolean).join(' ') || named.username || '';
    case 'orgs':
      return named.name ?? '';
    case 'enrollments':
      return named.role ? `${roleLabel(named.role)} enrollment` : '';
    case 'demographics':
      return '';
    default:
      return named.title ?? '';
  }
}

/** "districtAdministrator" becomes "District administrator"; unknown words stay as they are. */
export function roleLabel(role: string): string {
  if (!/^[a-z]+([A-Z][a-z]+)*$/.test(role)) return role;
  const words = role.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export const statusLabels: Record<string, string> = {
  active: 'Active',
  tobedeleted: 'Removed',
};
