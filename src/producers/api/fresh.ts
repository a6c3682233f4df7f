import { createHash } from "node:crypto";
import type { SignRequest } from "../../core/request.ts";

/** Whether a client has what the tag names already, by its If-None-Match. @source RFC 9110 §13.1.2 */
export function isFresh(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((tag) => tag.trim() === "*" || tag.trim().replace(/^W\//, "") === etag);
}

/**
 * The strong tag of a request's representation: another one for every state of its record, and after an update of the
 * program, which may show the same record otherwise. @source RFC 9110 §8.8.3
 */
export function toEtag({ id, mark = "", stage, phase, attempt, updatedMs }: SignRequest, version: string): string {
  const state = [version, id, mark, stage, phase, attempt, updatedMs].join("|");
  return `"${createHash("sha256").update(state).digest("base64url").slice(0, 22)}"`;
}
