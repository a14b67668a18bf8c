// Makes the OpenAPI 3 document out of the Swagger 2 that protoc-gen-openapiv2 writes and
// the hand-written part of the HTTP API.
//
//   node openapi.mjs SWAGGER.json HTTP.yaml OPENAPI.json
import { readFileSync, writeFileSync } from "node:fs";
import converter from "swagger2openapi";
import yaml from "yaml";

const [swaggerFile, httpFile, outFile] = process.argv.slice(2);
const swagger = JSON.parse(readFileSync(swaggerFile, "utf8"));
const { openapi: generated } = await converter.convertObj(swagger, { direct: false });

// A proto path such as {entity=users} with its additional bindings comes out as numbered
// copies of one path, each with a literal as pattern. They become one path and one enum.
function foldBindings(paths) {
  const folded = {};
  for (const [path, item] of Object.entries(paths)) {
    const name = (s) => s.replace(/_\d+$/, "");
    const key = path.replace(/\{(\w+)\}/g, (_, p) => `{${name(p)}}`);
    for (const [method, op] of Object.entries(item)) {
      for (const p of op.parameters ?? []) {
        if (p.in !== "path") continue;
        p.name = name(p.name);
        if (/^\w+$/.test(p.schema.pattern ?? "")) {
          p.schema = { type: "string", enum: [p.schema.pattern] };
        }
      }
      const seen = folded[key]?.[method];
      if (!seen) {
        op.operationId = op.operationId.replace(/(\D)\d+$/, "$1");
        (folded[key] ??= {})[method] = op;
        continue;
      }
      for (const p of seen.parameters) {
        const other = op.parameters.find((o) => o.in === p.in && o.name === p.name);
        if (p.schema.enum && other?.schema.enum && p.in === "path") {
          p.schema.enum = [...new Set([...p.schema.enum, ...other.schema.enum])].sort();
        }
      }
    }
  }
  return folded;
}

// Free-form bodies (google.api.HttpBody) are CSV files throughout this API.
function nameContentTypes(op) {
  for (const r of Object.values(op.responses)) {
    const json = r.content?.["application/json"];
    if (json?.schema?.format === "binary") r.content = { "text/csv": { schema: { type: "string" } } };
    r.description = r.description.replace(/\(streaming responses\)$/, "");
  }
  op.responses.default ??= { $ref: "#/components/responses/Problem" };
}

// Schemas that nothing refers to any more, HttpBody for example.
function pruneSchemas(doc) {
  for (let before = -1; before !== Object.keys(doc.components.schemas).length; ) {
    before = Object.keys(doc.components.schemas).length;
    const used = new Set(JSON.stringify(doc).match(/#\/components\/schemas\/\w+/g));
    for (const s of Object.keys(doc.components.schemas)) {
      if (!used.has(`#/components/schemas/${s}`)) delete doc.components.schemas[s];
    }
  }
}

function merge(into, from) {
  for (const [k, v] of Object.entries(from)) {
    if (v && into[k] && typeof v === "object" && !Array.isArray(v)) merge(into[k], v);
    else into[k] = v;
  }
  return into;
}

const sorted = (o) => Object.fromEntries(Object.entries(o).sort(([a], [b]) => (a < b ? -1 : 1)));

generated.paths = foldBindings(generated.paths);
const doc = merge(generated, yaml.parse(readFileSync(httpFile, "utf8")));
for (const item of Object.values(doc.paths)) Object.values(item).forEach(nameContentTypes);
doc.paths = sorted(doc.paths);
pruneSchemas(doc);
doc.components.schemas = sorted(doc.components.schemas);
writeFileSync(outFile, JSON.stringify(doc, null, 2) + "\n");
