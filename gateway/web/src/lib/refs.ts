import type { AnyRecord, Entity, RecordOf, Search } from './entities';

/** A record that another one points to. */
export interface Reference {
  label: string;
  entity: Entity;
  id: string;
  /** What the link itself says, "mother" for example. */
  note?: string;
}

/** A search that finds the records which point to this one. */
export interface Lookup {
  label: string;
  entity: Entity;
  search: Search;
}

type Ref = { sourcedId?: string } | undefined;

function link(label: string, entity: Entity, ref: Ref, note?: string): Reference[] {
  return ref?.sourcedId ? [{ label, entity, id: ref.sourcedId, note }] : [];
}

const referencesOf: { [E in Entity]: (record: RecordOf[E]) => Reference[] } = {
  users: (user) => [
    ...(user.roles ?? []).flatMap((role) => link('School', 'orgs', role.org, role.role)),
    ...link('Primary school', 'orgs', user.primaryOrg),
    ...(user.agents ?? []).flatMap((agent) =>
      link('Related person', 'users', agent, agent.relationship || agent.contactType),
    ),
  ],
  enrollments: (enrollment) => [
    ...link('User', 'users', enrollment.user),
    ...link('Class', 'classes', enrollment.class),
    ...link('School', 'orgs', enrollment.school),
  ],
  classes: (section) => [
    ...link('Course', 'courses', section.course),
    ...link('School', 'orgs', section.school),
    ...(section.terms ?? []).flatMap((term) => link('Term', 'academicSessions', term)),
  ],
  courses: (course) => [
    ...link('School or district', 'orgs', course.org),
    ...link('School year', 'academicSessions', course.schoolYear),
  ],
  academicSessions: (session) => link('Part of', 'academicSessions', session.parent),
  demographics: (demographics) => link('User', 'users', demographics),
  orgs: (org) => link('Part of', 'orgs', org.parent),
};

/** Every record that this one points to, each once. */
export function references(entity: Entity, record: AnyRecord): Reference[] {
  const all = (referencesOf[entity] as (record: AnyRecord) => Reference[])(record);
  const seen = new Set<string>();
  return all.filter((reference) => {
    const key = JSON.stringify([reference.entity, reference.id, reference.note ?? reference.label]);
    return !seen.has(key) && Boolean(seen.add(key));
  });
}

/** The searches that answer "what belongs to this record?". */
export function lookups(entity: Entity, id: string): Lookup[] {
  switch (entity) {
    case 'users':
      return [
        { label: 'Enrollments of this user', entity: 'enrollments', search: { userId: id } },
        { label: 'Demographics of this user', entity: 'demographics', search: { sourcedId: id } },
      ];
    case 'classes':
      return [
        {
          label: 'Students of this class',
          entity: 'enrollments',
          search: { classId: id, role: 'student' },
        },
        {
          label: 'Teachers of this class',
          entity: 'enrollments',
          search: { classId: id, role: 'teacher' },
        },
        { label: 'All enrollments of this class', entity: 'enrollments', search: { classId: id } },
      ];
    case 'orgs':
      return [
        { label: 'Users of this org', entity: 'users', search: { orgId: id } },
        { label: 'Classes of this org', entity: 'classes', search: { schoolId: id } },
      ];
    default:
      return [];
  }
}
