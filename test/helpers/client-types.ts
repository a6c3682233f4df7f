import { z } from "zod";
import { WAIT_NAMES } from "../../src/core/ages.ts";
import { BATCH_STATES, ROW_STATES } from "../../src/core/batch.ts";
import { Correction } from "../../src/core/correction.ts";
import { Notification } from "../../src/core/notification.ts";
import { PHASES } from "../../src/core/status.ts";
import { Manifest } from "../../src/producers/manifest.ts";
import { BatchList, BatchView, ReportView, RowList, RowView } from "../../src/producers/api/batch-view.ts";
import { NotificationView } from "../../src/producers/api/notifications.ts";
import { FieldError, PROBLEMS } from "../../src/producers/api/problem.ts";
import { Reference } from "../../src/producers/api/references.ts";
import { rowJsonSchema } from "../../src/producers/batch/columns.ts";
import { Accepted, HistoryView, RequestList, RequestView } from "../../src/producers/api/view.ts";

/** What of JSON Schema the API's schemas use. @source JSON Schema draft 2020-12 */
interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  description?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  propertyNames?: Schema;
  items?: Schema;
  default?: unknown;
}

/** What callers send, and what they are answered, by the name of the type in the client. */
const SENT: Record<string, z.ZodType> = { Manifest, DocumentByAddress: Reference, Correction };
const ANSWERED: Record<string, z.ZodType> = {
  Request: RequestView,
  RequestList,
  History: HistoryView,
  Accepted,
  FieldError,
  Batch: BatchView,
  BatchList,
  BatchReport: ReportView,
  BatchRow: RowView,
  BatchRowList: RowList,
  Delivery: NotificationView,
  Notification,
};
/** What is published as JSON Schema alone. */
const COLUMNS = { BatchColumns: rowJsonSchema() as Schema };
const WORDS: Record<string, { says: string; words: readonly string[] }> = {
  State: { says: "What is happening to a request. The last five are ends.", words: PHASES },
  WaitingFor: { says: "What a request may wait for, in the words of `waiting.for`.", words: WAIT_NAMES },
  BatchState: { says: "How a batch is, as a whole.", words: BATCH_STATES },
  RowState: { says: "What became of a row of a batch.", words: ROW_STATES },
  ProblemCode: { says: "Every code with which the API refuses a call.", words: Object.keys(PROBLEMS) },
};

const HEAD = `/**
 * What goes to the API and comes from it. Made from the schemas by which the API itself reads and answers; do not edit:
 * \`npm run docs\` writes it.
 */
`;

/** The client's types, as the text of a module without imports. */
export function clientTypes(): string {
  const words = Object.entries(WORDS).map(
    ([name, { says, words }]) =>
      `/** ${says} */\nexport type ${name} =${words.map((word) => `\n  | "${word}"`).join("")};\n`,
  );
  const of = (io: "input" | "output") => (entry: [string, z.ZodType]) => {
    const [name, schema] = entry;
    const json = z.toJSONSchema(schema, { io, unrepresentable: "any" }) as Schema;
    return `export interface ${name} ${toObject(json.$ref === undefined ? json : find(json.$ref, json), json, "")}\n`;
  };
  const columns = Object.entries(COLUMNS).map(
    ([name, schema]) => `export interface ${name} ${toObject(schema, schema, "")}\n`,
  );
  const sent = Object.entries(SENT).map(of("input"));
  return [HEAD, ...words, ...sent, ...columns, ...Object.entries(ANSWERED).map(of("output"))].join("\n");
}

function toType(schema: Schema, root: Schema, indent: string): string {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split("/").at(-1) ?? "";
    return name in SENT || name in ANSWERED ? name : toType(find(schema.$ref, root), root, indent);
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const word = schema.enum && Object.entries(WORDS).find(([, { words }]) => String(words) === String(schema.enum));
  if (word) return word[0];
  if (schema.enum) return toUnion(schema.enum.map((one) => JSON.stringify(one)));
  const forms = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(schema.type)) return toUnion(schema.type.map((type) => toType({ ...schema, type }, root, indent)));
  if (forms) return toUnion(forms.map((form) => toType(form, root, indent)));
  switch (schema.type) {
    case "string":
    case "boolean":
    case "null":
      return schema.type;
    case "integer":
    case "number":
      return "number";
    case "array":
      return `(${toType(schema.items ?? {}, root, indent)})[]`.replace(/^\((\w+|\{[^]*\})\)/, "$1");
    case "object":
      return toObject(schema, root, indent);
    default:
      throw new Error(`The client's types have no word for ${JSON.stringify(schema)}`);
  }
}

function toObject(
  { properties = {}, required = [], additionalProperties, propertyNames }: Schema,
  root: Schema,
  indent: string,
): string {
  if (typeof additionalProperties === "object" && Object.keys(properties).length === 0) {
    const key = propertyNames ? toType(propertyNames, root, indent) : "string";
    const record = `Record<${key}, ${toType(additionalProperties, root, indent)}>`;
    return key === "string" ? record : `Partial<${record}>`;
  }
  const inner = `${indent}  `;
  const members = Object.entries(properties).map(([name, schema]) => {
    const comment = schema.description ? `${inner}/** ${schema.description.replaceAll("*/", "* /")} */\n` : "";
    const key = /^\w+$/.test(name) ? name : JSON.stringify(name);
    const isThere = required.includes(name);
    return `${comment}${inner}${key}${isThere ? "" : "?"}: ${toType(schema, root, inner)}${isThere ? "" : " | undefined"};\n`;
  });
  return `{\n${members.join("")}${indent}}`;
}

const toUnion = (types: string[]): string => [...new Set(types)].join(" | ");

function find(ref: string, root: Schema): Schema {
  const found = ref === "#" ? root : root.$defs?.[ref.replace("#/$defs/", "")];
  if (!found) throw new Error(`${ref} leads nowhere`);
  return found;
}
