import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Redis } from "ioredis";
import { unpacked } from "./unpacked.ts";

/** A value that nobody has twice, standing for something secret or personal. */
export interface Canary {
  what: string;
  value: string | Buffer;
  /** Kinds of places where it belongs; everywhere else it has leaked. */
  may?: readonly string[];
}

/** Something that was looked at. `kind` is what canaries may be in, `where` says it exactly. */
export interface Place {
  kind: string;
  where: string;
  content: string | Buffer;
}

/** Every canary that is where it may not be, as a sentence: what, in which form, where. */
export function leaks(canaries: readonly Canary[], places: readonly Place[]): string[] {
  const needles = canaries.flatMap(({ what, value, may = [] }) =>
    formsOf(value).map((form) => ({ what, may: new Set(may), ...form })),
  );
  const found = new Set<string>();
  const seen = new Set<string>();
  for (const { kind, where, content } of places) {
    const bytes = Buffer.from(content);
    const digest = `${kind}${createHash("sha256").update(bytes).digest("base64")}`;
    if (seen.has(digest)) continue; // the same answer many times over
    seen.add(digest);
    const text = bytes.toString("latin1");
    for (const { what, may, form, needle } of needles) {
      if (!may.has(kind) && isIn(text, needle)) found.add(`${what} (${form}) is in ${kind}: ${where}`);
    }
  }
  return [...found];
}

/** Whether a canary is in at least one of the places: what was promised to be there. */
export function isThere(value: string, places: readonly Place[]): boolean {
  return places.some(({ content }) => Buffer.from(content).includes(value));
}

function isIn(text: string, needle: string): boolean {
  // A short number counts only when it stands alone: times and sizes have all digits somewhere.
  if (/^\d{4,8}$/.test(needle)) return new RegExp(`(?<!\\d)${needle}(?!\\d)`).test(text);
  return text.includes(needle);
}

/** The ways in which a value can be written down, as Latin-1 text for searching in bytes. */
function formsOf(value: string | Buffer): { form: string; needle: string }[] {
  const bytes = Buffer.from(value);
  const text = bytes.toString("utf8");
  const toLatin1 = (form: string) => Buffer.from(form, "utf8").toString("latin1");
  const escaped = JSON.stringify(text).slice(1, -1);
  const forms: [string, string][] = [
    ["as it is", bytes.toString("latin1")],
    ["hex", bytes.toString("hex")],
    ["HEX", bytes.toString("hex").toUpperCase()],
    ...[0, 1, 2].flatMap((offset): [string, string][] => {
      const core = base64Within(bytes, offset);
      return [
        [`Base64 at ${offset}`, core],
        [`Base64url at ${offset}`, core.replaceAll("+", "-").replaceAll("/", "_")],
      ];
    }),
  ];
  if (typeof value === "string") {
    forms.push(
      ["in JSON", toLatin1(escaped)],
      [
        "in ASCII JSON",
        escaped.replaceAll(/[^\0-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`),
      ],
      ["in a URL", encodeURIComponent(text)],
      ["in a form", new URLSearchParams({ a: text }).toString().slice(2)],
      ["in HTML", toLatin1(text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;"))],
    );
  }
  const first = new Map(forms.reverse().map(([form, needle]) => [needle, form]));
  return [...first].map(([needle, form]) => ({ form, needle }));
}

/** What stands in a Base64 text in any case when the value begins `offset` bytes after a group of three. */
function base64Within(bytes: Buffer, offset: number): string {
  const whole = Buffer.concat([Buffer.alloc(offset), bytes])
    .toString("base64")
    .replaceAll("=", "");
  const isPartial = (offset + bytes.length) % 3 !== 0;
  return whole.slice(Math.ceil((offset * 8) / 6), isPartial ? -1 : undefined);
}

/** Everything that a Redis holds: the name, type and content of every key of every type. */
export async function dumpRedis(redis: Redis): Promise<Place[]> {
  const places: Place[] = [];
  for (let cursor = "0"; ;) {
    const [next, keys] = await redis.scan(cursor, "COUNT", 1_000);
    for (const key of keys)
      places.push({ kind: "redis", where: key, content: `${key}\n${await contentOf(redis, key)}` });
    if (next === "0") return places;
    cursor = next;
  }
}

async function contentOf(redis: Redis, key: string): Promise<string> {
  const type = await redis.type(key);
  switch (type) {
    case "string":
      return unpacked(key, (await redis.get(key)) ?? "");
    case "hash":
      return Object.entries(await redis.hgetall(key)).join("\n");
    case "list":
      return (await redis.lrange(key, 0, -1)).join("\n");
    case "set":
      return (await redis.smembers(key)).join("\n");
    case "zset":
      return (await redis.zrange(key, 0, "-1", "WITHSCORES")).join("\n");
    case "stream":
      return JSON.stringify(await redis.xrange(key, "-", "+"));
    case "none":
      return ""; // it lapsed meanwhile
    default:
      throw new Error(`${key} is a ${type}, which nobody reads here`);
  }
}

/** Every file below `dir` with its path; `kindOf` gets the path from `dir`. */
export function readFolder(dir: string, kindOf: (path: string) => string): Place[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const where = path.slice(dir.length + 1);
      return { kind: kindOf(where), where, content: Buffer.concat([Buffer.from(`${where}\n`), readFileSync(path)]) };
    });
}
