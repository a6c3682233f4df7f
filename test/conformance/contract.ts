import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { parse } from "yaml";

/** Anything that JSON can hold; what is looked into is checked by the description's own schemas. */
export type Fields = Record<string, unknown>;
export type Schema = {
  type?: string | string[];
  required?: string[];
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  items?: Schema;
  allOf?: Schema[];
  anyOf?: Schema[];
  contentMediaType?: string;
  "x-source"?: string[];
};

/** One example of an answer. Where a media type has a single example, its name is that of the type. */
export type Documented = { name: string; status: number; type: string; schema: Schema; value: unknown };

export type RequestBody = {
  required: boolean;
  type: string;
  schema: Schema;
  encoding: Record<string, { contentType: string }>;
  examples: Record<string, Fields>;
  /** Which answer a call gets without a required field: "400 missing"; a third word is the field it speaks of. */
  leftOut: Record<string, string>;
};

export type Operation = {
  id: string;
  method: string;
  path: string;
  generation: "newest" | "first";
  source: string[];
  parameters: {
    name: string;
    in: string;
    schema: Schema;
    example?: unknown;
    examples?: Record<string, { value: string }>;
  }[];
  body?: RequestBody;
  responses: { status: number; source: string[]; examples: Documented[] }[];
};

export const DESCRIPTION_PATH = join(import.meta.dirname, "../../docs/oneshot.openapi.yaml");
/** The description as it is written. */
export const description = parse(readFileSync(DESCRIPTION_PATH, "utf8")) as Fields;

/** The same with what its references lead to in their place. */
function resolved(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(resolved);
  if (typeof node !== "object" || node === null) return node;
  const { $ref, ...rest } = node as Fields;
  const there = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, resolved(value)]));
  if (typeof $ref !== "string") return there;
  const steps = $ref.slice(2).split("/");
  const target = steps.reduce((at, step) => (at as Fields)[step], description as unknown);
  if (target === undefined) throw new Error(`${$ref} leads nowhere`);
  return { ...(resolved(target) as Fields), ...there };
}

type Media = { schema: Schema; examples?: Record<string, { value: unknown }>; example?: unknown };
type RawResponse = { "x-source": string[]; content: Record<string, Media & { encoding?: RequestBody["encoding"] }> };
type RawOperation = {
  operationId: string;
  "x-source": string[];
  parameters?: Operation["parameters"];
  requestBody?: Pick<RawResponse, "content"> & { required: boolean; "x-left-out"?: Record<string, string> };
  responses: Record<string, RawResponse>;
};
type RawPath = { servers?: unknown; parameters?: Operation["parameters"] } & Record<string, RawOperation>;

const METHODS = ["get", "post", "put", "delete"] as const;

const examplesOf = ({ examples, example }: Media, type: string): [string, unknown][] =>
  examples ? Object.entries(examples).map(([name, { value }]) => [name, value]) : [[type, example]];

function bodyOf({ requestBody }: RawOperation): RequestBody | undefined {
  if (!requestBody) return undefined;
  const [[type, media] = []] = Object.entries(requestBody.content);
  if (type === undefined || media === undefined) throw new Error("A request body has no content");
  const { required, "x-left-out": leftOut = {} } = requestBody;
  const examples = Object.fromEntries(examplesOf(media, type)) as Record<string, Fields>;
  return { required, type, schema: media.schema, encoding: media.encoding ?? {}, examples, leftOut };
}

function operationOf(path: string, method: string, at: RawPath, raw: RawOperation): Operation {
  const body = bodyOf(raw);
  return {
    id: raw.operationId,
    method: method.toUpperCase(),
    path,
    generation: at.servers === undefined ? "newest" : "first",
    source: raw["x-source"],
    parameters: [...(at.parameters ?? []), ...(raw.parameters ?? [])],
    ...(body && { body }),
    responses: Object.entries(raw.responses).map(([status, { "x-source": source, content }]) => ({
      status: Number(status),
      source,
      examples: Object.entries(content).flatMap(([type, media]) =>
        examplesOf(media, type).map(([name, value]) => ({
          name,
          status: Number(status),
          type,
          schema: media.schema,
          value,
        })),
      ),
    })),
  };
}

const whole = resolved(description) as {
  paths: Record<string, RawPath>;
  webhooks: { statusChanged: { post: RawOperation } };
};

/** Every operation of the description, in its order. */
export const OPERATIONS: Operation[] = Object.entries(whole.paths).flatMap(([path, at]) =>
  METHODS.flatMap((method) => (at[method] ? [operationOf(path, method, at, at[method])] : [])),
);

const notification = bodyOf(whole.webhooks.statusChanged.post);
if (!notification) throw new Error("Nothing is said of notifications");
/** What the provider tells us of its own accord. */
export const NOTIFICATION: RequestBody = notification;

/** Every example of every answer. */
export const ANSWERS = OPERATIONS.flatMap((operation) =>
  operation.responses.flatMap(({ examples }) => examples.map((documented) => ({ operation, documented }))),
);

/** Every example of every request. */
export const REQUESTS = OPERATIONS.flatMap((operation) =>
  Object.entries(operation.body?.examples ?? {}).map(([name, value]) => ({ operation, name, value })),
);

/** What must be in a value of this schema, as paths with dots; of alternatives, the one that is there whole. */
export function requiredPaths(schema: Schema, value: Fields): string[] {
  const { required = [], properties = {}, allOf = [], anyOf = [] } = schema;
  const taken = anyOf.filter((one) => (one.required ?? []).every((name) => name in value));
  const here = [...allOf, ...taken].flatMap((one) => requiredPaths(one, value));
  const below = Object.entries(properties).flatMap(([name, one]) =>
    name in value && typeof value[name] === "object"
      ? requiredPaths(one, value[name] as Fields).map((path) => `${name}.${path}`)
      : [],
  );
  return [...new Set([...required, ...here, ...below])];
}

/** A value without what is at this path. */
export function without(value: Fields, path: string): Fields {
  const [first = "", ...rest] = path.split(".");
  const { [first]: taken, ...others } = value;
  return rest.length === 0 ? others : { ...others, [first]: without(taken as Fields, rest.join(".")) };
}

/** Paths of all fields of a schema; those of alternatives as well. */
export function fieldsOf(schema: Schema): { path: string; schema: Schema }[] {
  const { properties = {}, allOf = [], anyOf = [], items, additionalProperties } = schema;
  const below = [
    ...allOf,
    ...anyOf,
    ...(items ? [items] : []),
    ...(additionalProperties ? [additionalProperties] : []),
  ];
  return [
    ...Object.entries(properties).flatMap(([name, one]) => [
      { path: name, schema: one },
      ...fieldsOf(one).map((field) => ({ ...field, path: `${name}.${field.path}` })),
    ]),
    ...below.flatMap(fieldsOf),
  ];
}

/** Paths in a value that its schema does not know. An object whose fields no schema names may have any. */
export function undocumented(schema: Schema, value: unknown, at = ""): string[] {
  if (Array.isArray(value)) {
    const items = allOf(schema).flatMap((one) => (one.items ? [one.items] : []));
    return items.length === 0 ? [] : value.flatMap((one, i) => undocumented({ anyOf: items }, one, `${at}[${i}]`));
  }
  if (typeof value !== "object" || value === null) return [];
  const all = allOf(schema);
  if (!all.some((one) => one.properties ?? one.additionalProperties)) return [];
  return Object.entries(value).flatMap(([name, one]) => {
    const known = all.flatMap(({ properties = {}, additionalProperties }) =>
      [properties[name], additionalProperties].filter((found) => found !== undefined),
    );
    return known.length === 0 ? [`${at}.${name}`] : undocumented({ anyOf: known }, one, `${at}.${name}`);
  });
}

const allOf = (schema: Schema): Schema[] => [
  schema,
  ...[...(schema.allOf ?? []), ...(schema.anyOf ?? [])].flatMap(allOf),
];

let ajv: Ajv2020 | undefined;
const compiled = new Map<Schema, ValidateFunction>();

function compile(schema: Schema): ValidateFunction {
  ajv ??= formats.default(new Ajv2020({ strict: false, allErrors: true }));
  const known = compiled.get(schema) ?? ajv.compile(schema);
  compiled.set(schema, known);
  return known;
}

function accepts(schema: Schema, value: unknown): boolean {
  return compile(schema)(value);
}

/** Every field of a request that has to be there, with the example it is taken out of. */
export const REQUIRED = REQUESTS.flatMap(({ operation, name, value }) =>
  requiredPaths(operation.body?.schema ?? {}, value).map((path) => ({ operation, name, value, path })),
).filter(
  // Where two alternatives are given at once, the call is whole without one of them.
  ({ operation, value, path }) => !accepts(operation.body?.schema ?? {}, without(value, path)),
);

/** What is wrong with a value by its schema, and what of it the schema does not know; empty when nothing is. */
export function objections(schema: Schema, value: unknown): string[] {
  const validate = compile(schema);
  const wrong = validate(value) ? [] : (validate.errors ?? []).map((one) => `${one.instancePath} ${one.message}`);
  return [...wrong, ...undocumented(schema, value).map((path) => `${path} is not documented`)];
}

const UUID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

/** A text without what differs from call to call, and without what a JSON parser adds. */
export const plain = (text: string): string =>
  text
    .replace(/^(Could not parse JSON body).*/s, "$1")
    .replaceAll(UUID, "<uid>")
    .replaceAll(/\d+/g, "<number>");

const TEXTS = ["status", "message", "messsage"];

/** What two answers of the same kind have in common: keys, types, and texts; all texts where `texts` is set. */
export function outline(value: unknown, texts: boolean, key = ""): unknown {
  if (typeof value === "string") return texts || TEXTS.includes(key) || value === "" ? plain(value) : "a text";
  if (typeof value === "number") return "a number";
  if (Array.isArray(value)) return value.map((one) => outline(one, texts));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [plain(name), outline(one, texts, name)]));
}

/** The text for people in an error's body, whichever of its forms it has. */
export function textOf(body: unknown): unknown {
  const { details, detail, message, error } = body as Fields;
  return details ?? detail ?? message ?? error;
}
