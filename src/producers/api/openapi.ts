import swagger from "@fastify/swagger";
import { jsonSchemaTransform, jsonSchemaTransformObject } from "fastify-type-provider-zod";
import { z } from "zod";
import { ENCLOSURES } from "../../core/identity.ts";
import { manifestJsonSchema } from "../manifest.ts";
import { Reference } from "./references.ts";
import { EXAMPLES, MANIFEST_EXAMPLE } from "./examples.ts";
import type { AnswerNote, Limits, Server } from "./ports.ts";
import { type Problem, PROBLEMS, type ProblemCode } from "./problem.ts";

/** What of an OpenAPI document this program writes and reads. @source https://spec.openapis.org/oas/v3.1.1 */
export interface ApiDocument {
  openapi: string;
  info: { title: string; version: string; description: string };
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: Record<string, object> };
}

export interface Operation {
  operationId: string;
  summary: string;
  description?: string;
  tags?: string[];
  security?: object[];
  parameters?: Parameter[];
  requestBody?: { required?: boolean; description?: string; content: Record<string, Media> };
  responses: Record<string, Answer>;
  "x-problems"?: readonly ProblemCode[];
  "x-answers"?: Record<string, AnswerNote>;
  "x-body-example"?: unknown;
}

export interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema: object;
}

interface Answer {
  description: string;
  headers?: Record<string, object>;
  content?: Record<string, Media>;
}

export interface Media {
  schema?: object;
  example?: unknown;
  examples?: Record<string, { summary: string; value: unknown }>;
  encoding?: object;
}

const TAGS = [
  { name: "Requests", description: "Hand documents in, and follow them." },
  {
    name: "Acting",
    description: "What people do: remind, correct, begin anew, approve, refuse, give the code, cancel, retry.",
  },
  { name: "Batches", description: "Many requests at once, from a table." },
  { name: "Results", description: "What comes out." },
  { name: "Notifications", description: "What callback addresses were told, and telling it once more." },
  { name: "Provider", description: "The address that the signature provider calls." },
  { name: "Watching", description: "For monitoring." },
  { name: "Pages", description: "For people, in a browser." },
];

/** Problems that a call with a key can always answer. */
const ALWAYS = [
  "unauthorized",
  "not-for-this-key",
  "not-acceptable",
  "quota-exceeded",
  "internal",
  "redis-unavailable",
] as const satisfies ProblemCode[];

/** Collects the routes that are added from now on into one OpenAPI 3.1 document. */
export function addOpenApi(
  app: Server,
  { version, limits, intro }: { version: string; limits: Limits; intro: string },
): void {
  void app.register(swagger, {
    openapi: {
      openapi: "3.1.1",
      info: { title: "signpipe", version, description: intro },
      servers: [{ url: "/" }],
      tags: TAGS,
      security: [{ key: [] }],
      components: {
        securitySchemes: { key: { type: "http", scheme: "bearer", description: "A key from API_KEYS." } },
      },
    },
    transform: jsonSchemaTransform,
    transformObject: (given) => {
      const document = jsonSchemaTransformObject(given) as unknown as ApiDocument;
      finish(document, limits);
      return document;
    },
  });
}

export function readDocument(app: Server): ApiDocument {
  return app.swagger() as unknown as ApiDocument;
}

/** Adds what a schema cannot say: the multipart body, every problem with an example, headers and examples of answers. */
function finish(document: ApiDocument, limits: Limits): void {
  const { $schema: _, ...manifest } = manifestJsonSchema() as { $schema?: string };
  document.components.schemas["Manifest"] = manifest;
  // The library names the form in which a client would send a schema "…Input"; nobody sends these.
  for (const name of Object.keys(document.components.schemas)) {
    if (name.endsWith("Input")) delete document.components.schemas[name];
  }
  for (const item of Object.values(document.paths)) {
    for (const operation of Object.values(item)) {
      if (operation.operationId === "submitRequest") addUpload(operation, limits);
      addAnswers(operation);
      addKey(operation);
      addProblems(operation);
      addBody(operation);
    }
  }
}

/** Calls that refuse a wrong key are those that take one. */
function addKey(operation: Operation): void {
  if (!operation["x-problems"]?.includes("invalid-idempotency-key")) return;
  operation.parameters = [
    ...(operation.parameters ?? []),
    {
      name: "Idempotency-Key",
      in: "header",
      description:
        "1 to 255 visible ASCII characters of the caller's choice, in double quotes or not. Remembered for a day from the first answer on.",
      schema: { type: "string", minLength: 1, maxLength: 512 },
    },
  ];
}

function addUpload(operation: Operation, limits: Limits): void {
  const file = {
    type: "string",
    contentMediaType: "application/pdf",
    description: "A PDF; with signature.format cms a file of any kind, or a hash file (NAME.hash.json).",
  };
  const { $schema: _, ...references } = z.toJSONSchema(Reference, { io: "input" });
  operation.requestBody = {
    required: true,
    content: {
      "multipart/form-data": {
        schema: {
          type: "object",
          required: ["manifest", "file"],
          properties: {
            manifest: { $ref: "#/components/schemas/Manifest" },
            file: { type: "array", items: file, minItems: 1, maxItems: limits.documents },
            enclosure: {
              type: "array",
              description:
                'The files that the manifest names under "identity", each under the file name that stands there. Pictures are JPEG or PNG, by their bytes.',
              items: { type: "string", contentMediaType: "application/octet-stream" },
              maxItems: ENCLOSURES.length,
            },
          },
        },
        encoding: {
          manifest: { contentType: "application/json" },
          file: { contentType: "application/pdf, */*" },
          enclosure: { contentType: "application/octet-stream" },
        },
        example: { manifest: MANIFEST_EXAMPLE, file: ["(bytes of the PDF)"] },
      },
      "application/json": {
        schema: {
          type: "object",
          required: ["manifest", "documents"],
          additionalProperties: false,
          properties: {
            manifest: { $ref: "#/components/schemas/Manifest" },
            documents: { type: "array", items: references, minItems: 1, maxItems: limits.documents },
          },
        },
        example: { manifest: MANIFEST_EXAMPLE, documents: [{ url: "https://files.example/lease.pdf" }] },
      },
    },
  };
}

function addAnswers(operation: Operation): void {
  for (const [status, note] of Object.entries(operation["x-answers"] ?? {})) {
    const answer: Answer = { ...operation.responses[status], description: note.description };
    if (note.headers) {
      answer.headers = Object.fromEntries(
        Object.entries(note.headers).map(([name, description]) => [name, { description, schema: { type: "string" } }]),
      );
    }
    const types = [note.contentType ?? []].flat();
    if (types.length > 0)
      answer.content = Object.fromEntries(types.map((type) => [type, { schema: { type: "string" } }]));
    for (const media of Object.values(answer.content ?? {})) {
      const example = note.example ?? EXAMPLES[schemaName(media) ?? ""];
      if (example !== undefined) media.example = example;
    }
    operation.responses[status] = answer;
  }
  if (operation["x-answers"] && !operation["x-answers"]["200"]) delete operation.responses["200"];
  delete operation["x-answers"];
}

function addProblems(operation: Operation): void {
  const open = operation.security?.length === 0;
  const codes: ProblemCode[] = [...(operation["x-problems"] ?? []), ...(open ? [] : ALWAYS)];
  delete operation["x-problems"];
  for (const code of codes) {
    const status = String(PROBLEMS[code].status);
    const answer = (operation.responses[status] ??= { description: "" });
    const described = answer.description ? `${answer.description} ` : "";
    answer.description = `${described}\`${code}\`: ${PROBLEMS[code].title}.`;
    const media = ((answer.content ??= {})["application/problem+json"] ??= {
      schema: { $ref: "#/components/schemas/Problem" },
      examples: {},
    });
    (media.examples ??= {})[code] = { summary: PROBLEMS[code].title, value: toExample(code) };
    if ("retryAfterSeconds" in PROBLEMS[code]) {
      (answer.headers ??= {})["Retry-After"] = { description: "Seconds to wait.", schema: { type: "integer" } };
    }
  }
}

function addBody(operation: Operation): void {
  const example = operation["x-body-example"];
  delete operation["x-body-example"];
  if (example === undefined) {
    // Calls that need no body take an empty object for the sake of clients that always send one.
    const { content } = operation.requestBody ?? {};
    if (content?.["application/json"] && !content["multipart/form-data"]) delete operation.requestBody;
    return;
  }
  const content = operation.requestBody?.content ?? { "application/json": { schema: { type: "object" } } };
  for (const media of Object.values(content)) media.example = example;
  operation.requestBody = { required: true, content };
}

function toExample(code: ProblemCode): Problem {
  const { status, title } = PROBLEMS[code];
  const detail = `${title}. The detail says it for this call.`;
  return { type: `/docs#problem-${code}`, title, status, detail, code, correlation_id: "c-7f3a9d2e51b04c66" };
}

/** The component that a media type's schema refers to. */
export function schemaName({ schema }: Media): string | undefined {
  const reference = schema && "$ref" in schema && typeof schema.$ref === "string" ? schema.$ref : undefined;
  return reference?.split("/").at(-1);
}
