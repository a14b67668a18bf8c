import type { Schema } from '../api/client';

/** What a column of a guardian file can be read as. */
export const guardianFields: readonly { id: string; label: string }[] = [
  { id: 'student', label: 'Student' },
  { id: 'guardian', label: 'Id of the guardian' },
  { id: 'givenName', label: 'First name' },
  { id: 'familyName', label: 'Last name' },
  { id: 'email', label: 'Email' },
  { id: 'phone', label: 'Phone' },
  { id: 'mobilePhone', label: 'Mobile phone' },
  { id: 'address1', label: 'Address' },
  { id: 'address2', label: 'Address, second line' },
  { id: 'city', label: 'City' },
  { id: 'state', label: 'State' },
  { id: 'zip', label: 'ZIP code' },
  { id: 'dataAccess', label: 'May see data' },
  { id: 'custody', label: 'Has custody' },
  { id: 'relationship', label: 'Relationship' },
  { id: 'contactType', label: 'Type of contact' },
  { id: 'priority', label: 'Order of calling' },
  { id: 'language', label: 'Language' },
];

export const guardianKeys: readonly { id: Schema['GuardianKey']; label: string }[] = [
  { id: 'SOURCED_ID', label: 'Securly Internal ID' },
  { id: 'IDENTIFIER', label: 'Identifier' },
  { id: 'USER_ID', label: 'Any user id, the student number for example' },
  { id: 'EMAIL', label: 'Email' },
];

type Columns = Record<string, string>;

/** What a column is read as: as it was said, or as its name usually means. */
export function fieldOf(column: Schema['GuardianColumn'], said: Columns): string {
  const name = column.name ?? '';
  const field = Object.entries(said).find(([, of]) => of !== '' && of === name)?.[0];
  return field ?? (column.field && said[column.field] === undefined ? column.field : '');
}

/** The columns when one of them is to be read as something else, or not at all. */
export function withField(column: Schema['GuardianColumn'], field: string, said: Columns): Columns {
  const before = fieldOf(column, said);
  return {
    ...said,
    ...(before && { [before]: '' }),
    ...(field && { [field]: column.name ?? '' }),
  };
}
