/** Bodies of answers, in every form that the contract knows. */
import { STATUS_CODES } from "node:http";
import { type Readings } from "./readings.ts";

export interface Answer {
  code: number;
  body: Buffer;
  type: string | undefined;
}

type Json = Record<string, unknown>;

export function createAnswers(readings: Readings) {
  const json = (code: number, body: unknown): Answer => ({
    code,
    body: Buffer.from(JSON.stringify(body)),
    type: readings.jsonType,
  });
  const extra = (): Json =>
    readings.extraFields
      ? { trace_id: "d41d8cd9", api: { version: "1.9.2", node: 3 }, warnings: [], elapsed: 0.031 }
      : {};

  function success(text: string, data?: unknown, code = 200): Answer {
    const old = readings.ok !== "success";
    const status = old && code !== 200 ? `${code} ${STATUS_CODES[code]}` : readings.ok;
    const message = readings.text === "none" ? {} : { [readings.text]: text };
    const value =
      data === undefined ? (readings.text === "none" ? { [readings.data]: text } : {}) : { [readings.data]: data };
    return json(code, { status, ...message, ...value, ...extra() });
  }
  /** `text` is a sentence, or an object of messages by field or document. */
  function error(code: number, text: string | Json): Answer {
    const named = `${code} ${STATUS_CODES[code] ?? ""}`.trim();
    if (readings.error === "old") return json(code, { status: named, details: text, ...extra() });
    if (readings.error === "detail") return json(code, { detail: text });
    if (readings.error === "upstream") return json(code, { code: String(code), id: "3f1c2a9e", error: text });
    return json(code, { status: "error", message: text, ...extra() });
  }
  function invalid(problems: [field: string, message: string][]): Answer {
    const object = Object.fromEntries(problems.map(([field, message]) => [field, [message]]));
    if (readings.validation === "400-object") return json(400, { status: "400 Bad Request", details: object });
    if (readings.validation === "500-object")
      return json(500, { status: "500 Internal Server Error", details: object });
    return json(422, { detail: problems.map(([field, msg]) => ({ loc: ["body", field], msg, type: "value_error" })) });
  }
  /** "Not found" for something that is, or is not, in the store. */
  function missing(text: string): Answer {
    if (readings.notFound === "400-disguised") return json(400, { status: "404 Not Found", details: text });
    return error(404, text);
  }
  function unrouted(code: 404 | 405): Answer {
    const words = code === 404 ? "Not Found" : "Method Not Allowed";
    if (readings.unrouted === "json") return json(code, { detail: words });
    const page = `<html>\r\n<head><title>${code} ${words}</title></head>\r\n<body><center><h1>${code} ${words}</h1></center></body>\r\n</html>\r\n`;
    return { code, body: Buffer.from(page), type: "text/html" };
  }
  function deleted(text: string): Answer {
    if (readings.deleted === "envelope") return success(text);
    return { code: readings.deleted === "204" ? 204 : 200, body: Buffer.alloc(0), type: undefined };
  }
  /** A signature apart has a type of its own only where PDFs have theirs. */
  const file = (body: Buffer, kind: "pdf" | "hash" | "p7m" = "pdf"): Answer => {
    const own = { pdf: "application/pdf", hash: "application/json", p7m: "application/pkcs7-mime" }[kind];
    return { code: 200, body, type: readings.pdfType === "application/pdf" ? own : readings.pdfType };
  };
  const number = (value: number): number | string => (readings.numbers === "string" ? String(value) : value);

  return { json, extra, success, error, invalid, missing, unrouted, deleted, file, number };
}
