import { type Entity, type Search, searchFields } from './entities';

// Ids are arbitrary text: they travel as query parameters and never in a path.

export function queryString(parameters: Record<string, string | number | undefined>): string {
  const set = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== '');
  return set.length === 0
    ? ''
    : `?${set.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&')}`;
}

function districtPath(district: string): string {
  return `/districts/${encodeURIComponent(district)}`;
}

/** Addresses of screens. */
export const screens = {
  home: districtPath,
  readiness: (district: string, report?: string) =>
    `${districtPath(district)}/readiness${queryString({ report })}`,
  readinessSettings: (district: string) => `${districtPath(district)}/readiness/settings`,
  settings: (district: string, part = '') =>
    `${districtPath(district)}/settings${part && `/${part}`}`,
  overview: (district: string) => `${districtPath(district)}/overview`,
  viewer: (district: string) => `${districtPath(district)}/data`,
  records: (district: string, entity: Entity, search: Search = {}) =>
    `${districtPath(district)}/data/${entity}${queryString(search)}`,
  record: (district: string, entity: Entity, id: string, asOf?: string) =>
    `${districtPath(district)}/data/${entity}/record${queryString({ id, asOf })}`,
  schools: (district: string) => `${districtPath(district)}/schools`,
  sources: (district: string) => `${districtPath(district)}/sources`,
  connect: (district: string) => `${districtPath(district)}/connect`,
  source: (district: string, source: string, part = '') =>
    `${districtPath(district)}/sources/${encodeURIComponent(source)}${part && `/${part}`}`,
  /** An entry by hand: a new one (add), or that of a record. */
  entry: (district: string, source: string, of: { add?: string; entity?: Entity; id?: string }) =>
    `${districtPath(district)}/sources/${encodeURIComponent(source)}/entry${queryString(of)}`,
  history: (district: string) => `${districtPath(district)}/history`,
  revision: (district: string, revision: number) =>
    `${districtPath(district)}/history/${String(revision)}`,
  /** Either end is a revision or a date. */
  compare: (district: string, from: string, to: string) =>
    `${districtPath(district)}/history/compare${queryString({ from, to })}`,
  undo: (district: string, revision: number) =>
    `${districtPath(district)}/history/${String(revision)}/undo`,
  sync: (district: string, sync: string) =>
    `${districtPath(district)}/syncs/${encodeURIComponent(sync)}`,
};

/** Addresses of files that the hub writes. */
export const downloads = {
  report: (district: string, report: string, product: string, checkId?: string) =>
    `/v1${districtPath(district)}/readinessReports/${encodeURIComponent(report)}:download` +
    queryString({ product, checkId }),
  syncChanges: (district: string, sync: string) =>
    `/v1${districtPath(district)}/syncs/${encodeURIComponent(sync)}/changes:export`,
  records: (district: string, entity: Entity, search: Search) =>
    `/v1${districtPath(district)}/${entity}:export${queryString(search)}`,
};

/** The search that an address holds; unknown parameters are left alone. */
export function searchFrom(parameters: URLSearchParams): Search {
  const search: Search = {};
  for (const field of searchFields) {
    const value = parameters.get(field);
    if (value) search[field] = value;
  }
  return search;
}
