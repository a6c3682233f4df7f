import type { Server } from "./ports.ts";
import { isAcceptable } from "./accept.ts";
import { ApiError } from "./problem.ts";
import { answerExpectation, tooLongAddress, URL_BYTES } from "./unparsed.ts";

/** Refuses what is wrong with a call whatever it is about, in the words of a problem document. */
export function addGuards(app: Server): void {
  app.addHook("onRequest", async ({ url, headers, raw }) => {
    if (url.length > URL_BYTES) throw tooLongAddress();
    // Node would answer this one itself, without a word. @source RFC 9112 §3.2
    if (raw.httpVersion === "1.1" && headers.host === undefined) {
      throw new ApiError("invalid-http", "The Host header is missing.");
    }
    const encoding = headers["content-encoding"];
    if (encoding !== undefined && encoding !== "identity") {
      throw new ApiError("unsupported-media-type", "Send the body as it is, without Content-Encoding.");
    }
  });
  // Node would answer this one with a bare 417.
  app.server.on("checkExpectation", answerExpectation);
}

/** Refuses calls whose answer the caller says it cannot take. A refusal itself is a problem document, whatever was asked for. */
export function addAcceptable(app: Server): void {
  app.addHook("onRequest", async ({ headers, routeOptions, is404 }) => {
    const answers = Object.entries(routeOptions.schema?.["x-answers"] ?? {});
    if (is404 || answers.length === 0) return;
    const types = answers.flatMap(([status, { contentType }]) =>
      Number(status) < 300 ? [contentType ?? "application/json"].flat() : [],
    );
    if (isAcceptable(headers.accept, types)) return;
    throw new ApiError("not-acceptable", `This call answers with ${types.join(" or ")}; Accept must allow that.`);
  });
}
