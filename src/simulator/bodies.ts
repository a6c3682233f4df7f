import { SchemaViolation } from "./envelopes.ts";
import type { Finding } from "./envelopes.ts";

export type Body = Record<string, unknown>;

const finding = (type: string, key: string | undefined, msg: string, where = "body"): Finding => ({
  type,
  loc: key === undefined ? [where] : [where, ...key.split(".")],
  msg,
});

/** The JSON object of a call. Throws SchemaViolation when there is none. */
export function objectBody(body: unknown): Body {
  if (body === undefined || body === null) throw new SchemaViolation(finding("missing", undefined, "Field required"));
  if (typeof body !== "object" || Array.isArray(body)) {
    throw new SchemaViolation(finding("model_attributes_type", undefined, "Input should be a valid dictionary"));
  }
  return body as Body;
}

/** A text field; undefined when absent, null or blank. */
export function textOf(body: Body, key: string): string | undefined {
  const value = body[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string")
    throw new SchemaViolation(finding("string_type", key, "Input should be a valid string"));
  return value.trim() === "" ? undefined : value;
}

/** A numeric identifier, sent as a number or as text. */
export function numberOrText(body: Body, key: string): string | undefined {
  const value = body[key];
  return typeof value === "number" && Number.isInteger(value) ? String(value) : textOf(body, key);
}

/** The field, or 422 that says it is required. */
export function required<T>(value: T | undefined, key: string): T {
  if (value === undefined) throw new SchemaViolation(finding("missing", key, "Field required"));
  return value;
}

export const violation = (type: string, key: string, msg: string, where = "body"): SchemaViolation =>
  new SchemaViolation(finding(type, key, msg, where));

/** An integer of the path. */
export function pathInteger(params: unknown, key: string): number {
  const text = (params as Record<string, string>)[key] ?? "";
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw violation("int_parsing", key, "Input should be a valid integer, unable to parse string as an integer", "path");
}

export const pathText = (params: unknown, key: string): string => (params as Record<string, string>)[key] ?? "";
