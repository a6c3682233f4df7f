import { readFileSync } from "node:fs";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { PermanentError } from "../core/errors.ts";
import type { RequestId } from "../core/request.ts";

/**
 * Words that records and histories are full of. Never to be changed, since what was packed with them could not be read
 * any more: other words are a "z2".
 */
const WORDS = readFileSync(new URL("./done-words.txt", import.meta.url));
const PACKED = "z1:";

const wordsFor = (id: RequestId) => Buffer.concat([WORDS, Buffer.from(id)]);

/** What names a packed state, as `"mark":"…"` names one that is not. */
export function packedMark(mark: string): string {
  return `${PACKED}${mark}:`;
}

/**
 * A record's JSON with the lines of its history, for a request that is done: nobody writes it any more, hardly anybody
 * reads it, and it is kept for years. A third of the room. @source RFC 1951
 */
export function pack(id: RequestId, mark: string, json: string, history: readonly string[]): string {
  const deflated = deflateRawSync([json, ...history].join("\n"), { level: 9, dictionary: wordsFor(id) });
  return `${packedMark(mark)}${deflated.toString("base64").replace(/=+$/, "")}`;
}

/** What a record has behind its head: JSON, and its history where that is with it. Throws "record-damaged". */
export function unpack(id: RequestId, text: string): { json: string; history?: string[] } {
  if (!text.startsWith(PACKED)) return { json: text };
  try {
    const deflated = Buffer.from(text.slice(text.indexOf(":", PACKED.length) + 1), "base64");
    const inflated = inflateRawSync(deflated, { dictionary: wordsFor(id) });
    const [json = "", ...history] = inflated.toString("utf8").split("\n");
    return { json, history };
  } catch (cause) {
    throw new PermanentError("A record in Redis is not readable", { code: "record-damaged", cause });
  }
}
