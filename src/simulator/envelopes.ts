import { STATUS_CODES } from "node:http";
import { randomUUID } from "node:crypto";
import type { Generation } from "./operations.ts";
import type { Settings } from "./options.ts";

/** One finding of a schema check, as FastAPI words it. */
export type Finding = { type: string; loc: (string | number)[]; msg: string };

/** A call is refused: this HTTP status, this text (or messages by document or field). Rendered in the chosen style. */
export class Refusal extends Error {
  override name = "Refusal";
  http: number;
  details: string | Record<string, unknown>;
  /** The first generation answers 400 with a 404 inside for this one. */
  disguised: boolean;
  constructor(http: number, details: string | Record<string, unknown>, disguised = false) {
    super(typeof details === "string" ? details : "refused");
    this.http = http;
    this.details = details;
    this.disguised = disguised;
  }
}

/** The body does not have the right shape: 422. @source docs/provider.md §Error bodies */
export class SchemaViolation extends Error {
  override name = "SchemaViolation";
  findings: Finding[];
  constructor(...findings: Finding[]) {
    super("schema violation");
    this.findings = findings;
  }
}

/** The body is no JSON at all. */
export class InvalidJson extends Error {
  override name = "InvalidJson";
}

/** As a server answers that does not have this form of a call: no such route, or not with this method. */
export class NoSuchRoute extends Error {
  override name = "NoSuchRoute";
  allow: string | undefined;
  constructor(allow?: string) {
    super("no such route");
    this.allow = allow;
  }
}

/** What a call that worked says, before it is put into an envelope. */
export type Answer = {
  kind: "answer";
  message?: string;
  /** Data, and the key under which the newest generation has it, which is not the same everywhere. */
  data?: { key: "detail" | "details"; value: unknown };
  /** What the first generation says in its `details`; the data, or else the message, when not given. */
  first?: unknown;
  /** Where it is not 200. */
  http?: Partial<Record<Generation, number>>;
  /** In the first generation's envelope, wherever it is. */
  as?: "first";
  /** The newest generation spells the key of this message with three s. */
  misspelt?: true;
};

type More = Omit<Answer, "kind" | "data"> & { key?: "detail" | "details" };

export const said = (message: string): Answer => ({ kind: "answer", message });

/** An answer that has data. */
export const gave = (value: unknown, { key = "details", ...more }: More = {}): Answer => ({
  kind: "answer",
  data: { key, value },
  ...more,
});

type Rendered = { http: number; body: unknown };
type Style = Pick<Settings, "envelope" | "errorStyle" | "notFoundAs400">;

const statusLine = (http: number): string => `${http} ${STATUS_CODES[http] ?? "Error"}`;

/** An answer in the envelope of its generation; the newest can be made to speak like the first. */
export function render(answer: Answer, generation: Generation, { envelope }: Pick<Settings, "envelope">): Rendered {
  const { message, data, misspelt } = answer;
  const http = answer.http?.[generation] ?? 200;
  if (generation === "first" || envelope === "first" || answer.as === "first") {
    const details = "first" in answer ? answer.first : data ? data.value : message;
    return { http, body: { status: statusLine(http), details } };
  }
  const text = message === undefined ? {} : { [misspelt ? "messsage" : "message"]: message };
  return { http, body: { status: "success", ...text, ...(data && { [data.key]: data.value }) } };
}

/** The answer to a refused call, in the style that is set; the first generation has only one. */
export function errorAnswer(error: unknown, generation: Generation, settings: Style): Rendered {
  const style = generation === "first" ? "old" : settings.errorStyle;
  if (error instanceof NoSuchRoute)
    return error.allow === undefined
      ? { http: 404, body: { detail: "Not Found" } }
      : { http: 405, body: { detail: "Method Not Allowed" } };
  if (error instanceof SchemaViolation) return schemaAnswer(error, generation);
  if (error instanceof InvalidJson) {
    if (style !== "fastapi") return { http: 400, body: { status: "Invalid JSON", details: error.message } };
    return { http: 422, body: { detail: [{ type: "json_invalid", loc: ["body", 0], msg: "JSON decode error" }] } };
  }
  if (!(error instanceof Refusal)) return { http: 500, body: styled(500, "Internal error of the simulator", style) };
  if (error.disguised && (generation === "first" || settings.notFoundAs400)) {
    return { http: 400, body: { status: statusLine(error.http), details: error.details } };
  }
  return { http: error.http, body: styled(error.http, error.details, style) };
}

/** The first generation had no schema check of its own: it missed parameters. @source docs/provider.md §Error bodies */
function schemaAnswer({ findings }: SchemaViolation, generation: Generation): Rendered {
  if (generation === "newest") return { http: 422, body: { detail: findings } };
  const names = findings.flatMap(({ loc }) => loc.slice(1)).join(", ");
  const details = names === "" ? "Missing required parameters" : `Missing required parameters: ${names}`;
  return { http: 400, body: { status: statusLine(400), details } };
}

function styled(http: number, details: Refusal["details"], style: Settings["errorStyle"]): unknown {
  if (style === "fastapi") return { detail: details };
  if (style === "upstream" && typeof details === "string") {
    return { code: String(http), id: randomUUID().slice(0, 8), error: details };
  }
  // Messages by document or field are only published in the first generation's envelope.
  if (style === "old" || typeof details !== "string") return { status: statusLine(http), details };
  return { status: "error", message: details };
}
