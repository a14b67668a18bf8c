import type { Entity } from './entities';

interface RoleChoice {
  id: string;
  label: string;
}

/** What the hub takes as a role beyond the source's own words: one name for a family of them. */
export const roleFamilies: readonly RoleChoice[] = [
  { id: 'student', label: 'Students' },
  { id: 'teacher', label: 'Teachers' },
  { id: 'aide', label: 'Aides' },
  { id: 'administrator', label: 'Administrators' },
  { id: 'guardian', label: 'Guardians' },
];

const otherUserRoles: readonly RoleChoice[] = [
  { id: 'counselor', label: 'Counselor' },
  { id: 'districtAdministrator', label: 'District administrator' },
  { id: 'parent', label: 'Parent' },
  { id: 'principal', label: 'Principal' },
  { id: 'proctor', label: 'Proctor' },
  { id: 'relative', label: 'Relative' },
  { id: 'siteAdministrator', label: 'Site administrator' },
  { id: 'systemAdministrator', label: 'System administrator' },
];

const enrollmentRoles: readonly RoleChoice[] = [
  { id: 'student', label: 'Student' },
  { id: 'teacher', label: 'Teacher' },
  { id: 'aide', label: 'Aide' },
  { id: 'administrator', label: 'Administrator' },
  { id: 'proctor', label: 'Proctor' },
];

/** The roles to choose from, and the one chosen even if it is a source's own word. */
export function roleChoices(entity: Entity, chosen: string | undefined): readonly RoleChoice[] {
  const choices = entity === 'enrollments' ? enrollmentRoles : [...roleFamilies, ...otherUserRoles];
  return !chosen || choices.some((choice) => choice.id === chosen)
    ? choices
    : [...choices, { id: chosen, label: chosen }];
}
