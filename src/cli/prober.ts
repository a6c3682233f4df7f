import { randomBytes } from "node:crypto";
import { request } from "undici";
import { type Body, toBody, toStatusWords, toText } from "../provider/wire.ts";

const ASK_MS = 10_000;
/** What is told of an answer stands at its beginning. */
const READ_MOST_BYTES = 256 * 1024;

/** An answer to a look: enough to tell answers apart. Its text is never shown, since it may be about a person. */
export interface Look {
  status: number;
  body: Body;
  /** Methods that the path takes, where the answer says so. */
  allow: string | undefined;
  isPdf: boolean;
  latencyMs: number;
}

export type Prober = ReturnType<typeof createProber>;

/** Looks at a server as anybody could: it sends no account, and nothing but JSON braces. */
export function createProber(url: string) {
  const base = url.replace(/\/+$/, "");

  /** Throws what the connection says when there is no answer. `at` is another base path on the same server. */
  async function look(method: "GET" | "POST", path: string, { at = base }: { at?: string } = {}): Promise<Look> {
    const startedMs = performance.now();
    const { statusCode, headers, body } = await request(`${at}${path}`, {
      method,
      headersTimeout: ASK_MS,
      bodyTimeout: ASK_MS,
      signal: AbortSignal.timeout(2 * ASK_MS),
      ...(method === "POST" && { headers: { "content-type": "application/json" }, body: "{}" }),
    });
    const latencyMs = performance.now() - startedMs;
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > READ_MOST_BYTES) break;
    }
    const bytes = Buffer.concat(chunks);
    return {
      status: statusCode,
      body: toBody(bytes.toString("utf8")),
      allow: typeof headers.allow === "string" ? headers.allow.toUpperCase() : undefined,
      isPdf: bytes.subarray(0, 1024).includes("%PDF-"),
      latencyMs,
    };
  }

  return {
    base,
    look,
    /** What the server says of a path that it cannot know: paths that are answered otherwise are known to it. */
    nowhere: (method: "GET" | "POST", at = base) =>
      look(method, `/signpipe-doctor-${randomBytes(8).toString("hex")}`, { at }),
  };
}

/** Whether a path is one that the server knows, by what it says of one that it cannot know. */
export function isKnown(found: Look, nowhere: Look): boolean {
  const isSame = found.status === nowhere.status && gist(found) === gist(nowhere);
  return !isSame && !/^(not found|(route )?cannot (get|post)\b.*|route .*not found)$/i.test(toText(found.body).trim());
}

/** An answer without what only this one has: paths and numbers. */
function gist({ body }: Look): string {
  return `${shapeOf(body)} ${toText(body).replaceAll(/\/\S*|[0-9a-f-]{6,}|\d+/gi, "…")}`;
}

/** The outer form of an answer, such as `{"status":"error","message":…}`; of what it says, only the envelope's words. */
export function shapeOf(body: Body): string {
  if (body.kind !== "json") return body.kind === "empty" ? "nothing" : body.kind === "html" ? "a page" : "plain text";
  const { value } = body;
  if (Array.isArray(value)) return "a list";
  if (typeof value !== "object" || value === null) return "a bare value";
  const words = toStatusWords(body);
  const isWord = /^(success|error|ok|\d{3}( [A-Za-z ]{2,30})?|(\d{3} )?invalid json)$/i.test(words);
  const fields = Object.entries(value).slice(0, 6);
  const parts = fields.map(([key, member]) => {
    const name = key.replaceAll(/[^\w-]/g, "?").slice(0, 20);
    if (key === "status" && isWord) return `"status":"${words}"`;
    return `"${name}":${Array.isArray(member) ? "[…]" : typeof member === "object" && member !== null ? "{…}" : "…"}`;
  });
  return `{${parts.join(",")}}`;
}

export function told({ status, body }: Look): string {
  return `${status} ${shapeOf(body)}`;
}
