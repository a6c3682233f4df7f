import { readFile } from "node:fs/promises";
import { textOf, violation } from "../bodies.ts";
import type { Body } from "../bodies.ts";
import type { Context } from "../context.ts";
import { Refusal } from "../envelopes.ts";
import { readPng } from "../pdf/png.ts";
import type { Picture } from "../pdf/png.ts";
import type { Appearance } from "./appearance.ts";

/** The visible signature of each document, by its uid. */
export type Appearances = (uid: string) => Appearance | undefined;

const POSITION = /^\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*$/;
const IN_BODY = "signature.appearance";

export function nested(body: Body, key: string): Body | undefined {
  const value = body[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "object" || Array.isArray(value))
    throw violation("dict_type", key, "Input should be a valid dictionary");
  return value as Body;
}

export function linesFrom(value: unknown): string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw violation("list_type", `${IN_BODY}.text`, "Input should be a valid list");
  if (!value.every((line) => typeof line === "string")) {
    throw violation("string_type", `${IN_BODY}.text`, "Input should be a valid string");
  }
  return value;
}

export function rectFrom(position: string): Appearance["rect"] {
  const found = POSITION.exec(position);
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = found?.slice(1).map(Number) ?? [];
  if (!found || x2 <= x1 || y2 <= y1) {
    throw violation("value_error", `${IN_BODY}.position`, "Position must be 'x1, y1, x2, y2' with x1 < x2 and y1 < y2");
  }
  return [x1, y1, x2, y2];
}

export function pageFrom(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
  throw violation("int_type", `${IN_BODY}.page`, "Input should be a valid integer, zero or more");
}

/** Whether there is such a zone. */
export function isZone(timezone: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: timezone }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

function checkZone(timezone: string | undefined): void {
  if (timezone !== undefined && !isZone(timezone))
    throw violation("value_error", `${IN_BODY}.timezone`, "Unknown time zone");
}

/** The same message for each document, keyed by its uid, as the first generation words it. */
export function forEach(uids: string[], http: number, text: (uid: string) => string): Refusal {
  return new Refusal(http, Object.fromEntries(uids.map((uid) => [uid, text(uid)])));
}

/** Throws the refusal of an image that is not there, for each of these documents. */
export async function pictureFrom(context: Context, uid: string, documents: string[]): Promise<Picture> {
  const image = context.store.images.get(uid);
  const bytes = image ? await readFile(`${context.imagesFolder}/${uid}.png`).catch(() => undefined) : undefined;
  const picture = bytes ? readPng(bytes) : undefined;
  if (!picture) throw forEach(documents, 404, () => `The image ${uid} cannot be found on disk`);
  return picture;
}

/**
 * The visible signature that a sign call asks for, the same for all documents; invisible when it asks for none. A
 * started appearance needs its position and page. Throws SchemaViolation and Refusal.
 * @source docs/provider.md §Signature appearance
 */
export async function appearanceFrom(context: Context, body: Body, documents: string[]): Promise<Appearances> {
  const signature = nested(body, "signature");
  const asked = signature ? nested(signature, "appearance") : undefined;
  if (!asked || Object.keys(asked).length === 0) return () => undefined;
  const text = linesFrom(asked["text"]);
  const page = pageFrom(asked["page"]);
  const [date, timezone, position, image] = ["date", "timezone", "position", "image"].map((key) => textOf(asked, key));
  const { horizontal } = asked;
  if (horizontal !== undefined && horizontal !== null && typeof horizontal !== "boolean") {
    throw violation("bool_type", `${IN_BODY}.horizontal`, "Input should be a valid boolean");
  }
  checkZone(timezone);
  const missing = position === undefined ? "position" : page === undefined ? "page" : undefined;
  if (position === undefined || page === undefined) {
    throw forEach(documents, 400, (uid) => `Missing required parameter '${missing}' for file ${uid}`);
  }
  const appearance: Appearance = {
    rect: rectFrom(position),
    page,
    ...(text ? { text } : {}),
    ...(date ? { date } : {}),
    ...(timezone ? { timezone } : {}),
    ...(image ? { picture: await pictureFrom(context, image, documents) } : {}),
    ...(horizontal === true ? { horizontal } : {}),
  };
  return () => appearance;
}
