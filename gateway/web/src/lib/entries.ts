import type { Schema } from '../api/client';
import type { AnyRecord, Entity } from './entities';

/** A text or day that can be entered of a record, by its JSON name. */
export interface EntryField {
  name: string;
  label: string;
  type?: 'email' | 'tel' | 'date';
  required?: boolean;
}

const person: EntryField[] = [
  { name: 'givenName', label: 'First name', required: true },
  { name: 'familyName', label: 'Last name', required: true },
  { name: 'email', label: 'Email', type: 'email' },
];

const phones: EntryField[] = [
  { name: 'phone', label: 'Phone', type: 'tel' },
  { name: 'sms', label: 'Mobile phone', type: 'tel' },
];

const guardians: readonly string[] = ['guardian', 'parent', 'relative'];

/** What can be added where no source has it. */
export const additions = {
  guardian: {
    entity: 'users',
    title: 'Add a guardian',
    fields: [...person, ...phones],
    roles: guardians,
  },
  staff: {
    entity: 'users',
    title: 'Add a member of staff',
    fields: [
      ...person,
      { name: 'username', label: 'User name' },
      { name: 'identifier', label: 'Staff number' },
    ],
    roles: [
      'teacher',
      'aide',
      'counselor',
      'principal',
      'siteAdministrator',
      'districtAdministrator',
    ],
  },
  class: {
    entity: 'classes',
    title: 'Add a class',
    fields: [
      { name: 'title', label: 'Title', required: true },
      { name: 'classCode', label: 'Code' },
      { name: 'location', label: 'Room' },
    ],
    roles: [],
  },
} as const satisfies Record<
  string,
  { entity: Entity; title: string; fields: readonly EntryField[]; roles: readonly string[] }
>;

export type Addition = keyof typeof additions;

/** As what an entry was added; undefined for what has no form of its own. */
export function additionOf(entry: Schema['ManualEntry']): Addition | undefined {
  const { user, class: of } = entry.record ?? {};
  if (of) return 'class';
  const role = user?.roles?.[0]?.role ?? '';
  return !user ? undefined : guardians.includes(role) ? 'guardian' : 'staff';
}

/** An id that no record has. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  return `by-hand-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** What can be corrected of a record that a source delivers. */
export const correctable: Record<Entity, readonly EntryField[]> = {
  users: [
    { name: 'givenName', label: 'First name' },
    { name: 'familyName', label: 'Last name' },
    { name: 'middleName', label: 'Middle name' },
    { name: 'preferredFirstName', label: 'Preferred first name' },
    { name: 'preferredLastName', label: 'Preferred last name' },
    { name: 'email', label: 'Email', type: 'email' },
    { name: 'username', label: 'User name' },
    { name: 'identifier', label: 'Identifier' },
    ...phones,
  ],
  classes: [
    { name: 'title', label: 'Title' },
    { name: 'classCode', label: 'Code' },
    { name: 'location', label: 'Room' },
  ],
  courses: [
    { name: 'title', label: 'Title' },
    { name: 'courseCode', label: 'Code' },
  ],
  orgs: [
    { name: 'name', label: 'Name' },
    { name: 'identifier', label: 'Identifier' },
  ],
  academicSessions: [
    { name: 'title', label: 'Title' },
    { name: 'startDate', label: 'First day', type: 'date' },
    { name: 'endDate', label: 'Last day', type: 'date' },
    { name: 'schoolYear', label: 'School year' },
  ],
  enrollments: [
    { name: 'beginDate', label: 'First day', type: 'date' },
    { name: 'endDate', label: 'Last day', type: 'date' },
  ],
  demographics: [
    { name: 'birthDate', label: 'Birth date', type: 'date' },
    { name: 'cityOfBirth', label: 'City of birth' },
  ],
};

const keys: Record<Entity, keyof Schema['Record']> = {
  users: 'user',
  enrollments: 'enrollment',
  classes: 'class',
  courses: 'course',
  academicSessions: 'academicSession',
  demographics: 'demographics',
  orgs: 'org',
};

/** The record of an entry, and of which entity it is. */
export function entryRecord(
  entry: Schema['ManualEntry'],
): { entity: Entity; record: AnyRecord } | undefined {
  for (const [entity, key] of Object.entries(keys) as [Entity, keyof Schema['Record']][]) {
    const record = entry.record?.[key];
    if (record) return { entity, record };
  }
  return undefined;
}

export function asRecord(entity: Entity, record: Record<string, unknown>): Schema['Record'] {
  return { [keys[entity]]: record };
}

/** A field of a record as text; what is no text is not edited here. */
export function textOf(record: AnyRecord | undefined, field: string): string {
  const value = (record as Record<string, unknown> | undefined)?.[field];
  return typeof value === 'string' ? value : '';
}

/** The fields that an entry says something about, in words. */
export function enteredFields(entity: Entity, record: AnyRecord): string[] {
  const others: Record<string, string> = {
    roles: 'Role',
    agents: 'Relationships',
    address: 'Address',
    school: 'School',
    user: 'User',
    class: 'Class',
    role: 'Role',
    classType: 'Type',
    grades: 'Grades',
  };
  const labels = new Map(correctable[entity].map(({ name, label }) => [name, label]));
  return Object.entries(record as Record<string, unknown>)
    .filter(
      ([name, value]) =>
        !['sourcedId', 'status', 'dateLastModified', 'primaryOrg', 'enabledUser'].includes(name) &&
        value !== '' &&
        !(Array.isArray(value) && value.length === 0) &&
        JSON.stringify(value) !== '{}' &&
        value !== null,
    )
    .map(([name]) => labels.get(name) ?? others[name] ?? name);
}

/** A record with texts entered into it; an empty one is no value. */
export function withTexts(
  record: Record<string, unknown>,
  texts: Record<string, string>,
): Record<string, unknown> {
  const trimmed = Object.entries(texts).map(([name, text]) => [name, text.trim()] as const);
  const others = Object.entries(record).filter(([name]) => texts[name] === undefined);
  return Object.fromEntries([...others, ...trimmed.filter(([, text]) => text !== '')]);
}
