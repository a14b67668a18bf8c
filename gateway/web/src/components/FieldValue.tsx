/**
 * A value as JSON text; the most common one is plain text and reads better without
 * its quotes, and so does the id that a record refers to.
 */
export function FieldValue({ json }: { json: string | undefined }) {
  if (!json || json === 'null' || json === '""') return <em>nothing</em>;
  const quoted = /^"(.*)"$/s.exec(json) ?? /^\{"sourcedId":"(.*)"\}$/s.exec(json);
  return <code>{quoted && !json.includes('\\') ? quoted[1] : json}</code>;
}
