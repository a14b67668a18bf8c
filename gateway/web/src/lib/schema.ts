/** What a form shows of one setting of a connector; from the connector's JSON schema. */
export interface Setting {
  name: string;
  type: 'string' | 'integer' | 'boolean';
  title: string;
  description: string;
  required: boolean;
  choices: string[];
  /** What counts when the setting is left out. */
  fallback: string;
}

export type Values = Record<string, string>;

interface Property {
  type?: string;
  title?: string;
  description?: string;
  enum?: unknown[];
  default?: unknown;
}

/** The settings of a schema, the required ones first. */
export function settingsOf(schema: unknown): Setting[] {
  const { properties = {}, required = [] } = (schema ?? {}) as {
    properties?: Record<string, Property>;
    required?: string[];
  };
  const settings = Object.entries(properties).map(([name, property]): Setting => ({
    name,
    type: property.type === 'integer' || property.type === 'boolean' ? property.type : 'string',
    title: property.title ?? name,
    description: property.description ?? '',
    required: required.includes(name),
    choices: (property.enum ?? []).map(String),
    fallback: property.default === undefined ? '' : String(property.default),
  }));
  const place = (setting: Setting) =>
    setting.required ? required.indexOf(setting.name) : required.length;
  return settings.sort((a, b) => place(a) - place(b));
}

/** The values of a form as settings: what is empty is left out. */
export function settingsFrom(
  values: Values,
  settings: readonly Setting[],
): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const { name, type } of settings) {
    const value = values[name]?.trim() ?? '';
    if (value === '') continue;
    const whole = type === 'integer' && /^-?\d+$/.test(value);
    // What is no number stays as it is, so that the hub says what is wrong with it.
    out[name] = type === 'boolean' ? value === 'true' : whole ? Number(value) : value;
  }
  return out;
}

/** Settings as the values of a form. */
export function valuesFrom(settings: unknown): Values {
  return Object.fromEntries(
    Object.entries((settings ?? {}) as Record<string, unknown>).map(([name, value]) => [
      name,
      String(value),
    ]),
  );
}

/** An id for a new source, from its name: one that no other source has. */
export function sourceIdFor(name: string, taken: readonly string[]): string {
  const plain =
    name
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 50)
      .replace(/-+$/, '') || 'source';
  let id = plain;
  for (let number = 2; taken.includes(id); number++) id = `${plain}-${String(number)}`;
  return id;
}
