import type { Schema } from '../api/client';
import { roleLabel } from './entities';

type Field = Schema['MappedField'];
type Part = Schema['MappedRecords'];

/** What a mapping can make, and the fields that it has: those of OneRoster's files. */
export const mappable: Record<string, readonly string[]> = {
  orgs: ['sourcedId', 'name', 'type', 'identifier', 'parentSourcedId'],
  academicSessions: [
    'sourcedId',
    'title',
    'type',
    'startDate',
    'endDate',
    'parentSourcedId',
    'schoolYear',
  ],
  courses: [
    'sourcedId',
    'title',
    'courseCode',
    'grades',
    'orgSourcedId',
    'schoolYearSourcedId',
    'subjects',
    'subjectCodes',
  ],
  classes: [
    'sourcedId',
    'title',
    'schoolSourcedId',
    'courseSourcedId',
    'termSourcedIds',
    'classCode',
    'classType',
    'grades',
    'location',
    'periods',
    'subjects',
    'subjectCodes',
  ],
  users: [
    'sourcedId',
    'role',
    'givenName',
    'familyName',
    'orgSourcedIds',
    'email',
    'username',
    'identifier',
    'grades',
    'middleName',
    'preferredGivenName',
    'preferredMiddleName',
    'preferredFamilyName',
    'pronouns',
    'phone',
    'sms',
    'userIds',
    'agentSourcedIds',
    'primaryOrgSourcedId',
    'userMasterIdentifier',
    'enabledUser',
  ],
  roles: ['sourcedId', 'userSourcedId', 'role', 'roleType', 'orgSourcedId', 'beginDate', 'endDate'],
  enrollments: [
    'sourcedId',
    'classSourcedId',
    'userSourcedId',
    'role',
    'schoolSourcedId',
    'primary',
    'beginDate',
    'endDate',
  ],
  demographics: [
    'sourcedId',
    'birthDate',
    'sex',
    'americanIndianOrAlaskaNative',
    'asian',
    'blackOrAfricanAmerican',
    'nativeHawaiianOrOtherPacificIslander',
    'white',
    'demographicRaceTwoOrMoreRaces',
    'hispanicOrLatinoEthnicity',
    'countryOfBirthCode',
    'stateOfBirthAbbreviation',
    'cityOfBirth',
    'publicSchoolResidenceStatus',
  ],
};

const labels: Record<string, string> = {
  sourcedId: 'Securly Internal ID',
  givenName: 'First name',
  familyName: 'Last name',
  preferredGivenName: 'Preferred first name',
  preferredFamilyName: 'Preferred last name',
  sms: 'Mobile phone',
  orgSourcedId: 'School',
  orgSourcedIds: 'Schools',
  primaryOrgSourcedId: 'Primary school',
  schoolSourcedId: 'School',
  schoolYearSourcedId: 'School year',
  courseSourcedId: 'Course',
  classSourcedId: 'Class',
  userSourcedId: 'User',
  termSourcedIds: 'Terms',
  parentSourcedId: 'Parent',
  agentSourcedIds: 'Guardians or children',
};

/** A field as people call it. */
export function fieldLabel(name: string): string {
  return labels[name] ?? roleLabel(name);
}

/** The fields of a part in the order of the standard, what is kept beside them last. */
export function fieldsOf({ entity = '', fields = {} }: Part): string[] {
  const order = mappable[entity] ?? [];
  const place = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  return Object.keys(fields).sort((a, b) => place(a) - place(b) || a.localeCompare(b));
}

/** The column that a value is, if it is just that. */
export function columnOf(value: string | undefined): string | undefined {
  const inside = /^\{((?:[^{}]|\{\{|\}\})+)\}$/.exec(value ?? '')?.[1];
  return inside?.replaceAll('{{', '{').replaceAll('}}', '}');
}

/** The value that is a column. */
export function valueOf(column: string): string {
  return `{${column.replaceAll('{', '{{').replaceAll('}', '}}')}}`;
}

/** Names of columns are the same but for case, spaces, hyphens and underscores. */
export function sameColumn(a: string, b: string): boolean {
  const folded = (name: string) => name.toLowerCase().replace(/[\s_-]/g, '');
  return folded(a) === folded(b);
}

/** A field whose values stand for others; what is not among them stays as it is. */
export function withValue(field: Field, from: string, to: string): Field {
  return {
    ...field,
    values: { ...field.values, [from]: to },
    ...(Object.keys(field.values ?? {}).length === 0 &&
      field.otherwise === undefined && { otherwise: field.value }),
  };
}

/** A mapping in which a value that nothing covers stands for another. */
export function covered(
  mapping: Schema['Mapping'],
  entity: string,
  value: Schema['UncoveredValue'],
  to: string,
): Schema['Mapping'] {
  return {
    records: (mapping.records ?? []).map((part) => {
      const field = part.fields?.[value.field ?? ''];
      const meant =
        field &&
        // Roles may stand in a file of their own; both make users.
        (part.entity === entity || (entity === 'users' && part.entity === 'roles')) &&
        part.file?.toLowerCase() === value.file?.toLowerCase();
      return meant
        ? {
            ...part,
            fields: {
              ...part.fields,
              [value.field ?? '']: withValue(field, value.value ?? '', to),
            },
          }
        : part;
    }),
  };
}

/** Whether two mappings say the same, whatever the order of their fields. */
export function sameMapping(a: Schema['Mapping'], b: Schema['Mapping']): boolean {
  const sorted = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(sorted)
      : value !== null && typeof value === 'object'
        ? Object.fromEntries(
            Object.entries(value as Record<string, unknown>)
              .filter(([, inner]) => inner !== undefined && inner !== false && inner !== '')
              .map(([name, inner]): [string, unknown] => [name, sorted(inner)])
              .filter(
                ([, inner]) => JSON.stringify(inner) !== '{}' && JSON.stringify(inner) !== '[]',
              )
              .sort(([left], [right]) => left.localeCompare(right)),
          )
        : value;
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}
