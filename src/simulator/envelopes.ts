import { STATUS_CODES } from "node:http";
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

/** The body does not have the right shape: 422. @source docs/provider.md §Errors */
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

export type Answer = { http: number; body: unknown };

const statusLine = (http: number): string => `${http} ${STATUS_CODES[http] ?? "Error"}`;

/** The answer to a refused call in the style that is set. */
export function errorAnswer(error: unknown, settings: Pick<Settings, "errorStyle" | "notFoundAs400">): Answer {
  if (error instanceof SchemaViolation) return { http: 422, body: { detail: error.findings } };
  if (error instanceof InvalidJson) {
    if (settings.errorStyle !== "fastapi")
      return { http: 400, body: { status: "Invalid JSON", details: error.message } };
    return { http: 422, body: { detail: [{ type: "json_invalid", loc: ["body", 0], msg: "JSON decode error" }] } };
  }
  if (!(error instanceof Refusal))
    return { http: 500, body: styled(500, "Internal error of the simulator", settings.errorStyle) };
  if (error.disguised && settings.notFoundAs400) {
    return { http: 400, body: { status: statusLine(error.http), details: error.details } };
  }
  return { http: error.http, body: styled(error.http, error.details, settings.errorStyle) };
}

function styled(http: number, details: Refusal["details"], style: Settings["errorStyle"]): unknown {
  if (style === "fastapi") return { detail: details };
  // Messages by document or field are only published in the first generation's envelope.
  if (style === "old" || typeof details !== "string") return { status: statusLine(http), details };
  return { status: "error", message: details };
}

export const success = (message: string): { status: string; message: string } => ({ status: "success", message });
export const successWith = (details: unknown, message?: string): Record<string, unknown> =>
  message === undefined ? { status: "success", details } : { status: "success", message, details };
