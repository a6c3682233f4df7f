import { readFileSync } from "node:fs";
import { z } from "zod";
import { renderDocs } from "./docs-page.ts";
import { PAGE_POLICY } from "./html.ts";
import { readDocument } from "./openapi.ts";
import type { ApiParts, Server } from "./ports.ts";

/** A file that a page needs. */
export function readAsset(name: "docs.css" | "login.css" | "icon.svg"): string {
  return readFileSync(new URL(`./pages/${name}`, import.meta.url), "utf8");
}

/** Adds `/openapi.json` and the page at `/docs` that is made from it. */
export function addPages(app: Server, { stages }: Pick<ApiParts, "stages">): void {
  const style = readAsset("docs.css");
  const icon = readAsset("icon.svg");
  const open = { tags: ["Pages"], security: [] };

  app.get(
    "/openapi.json",
    {
      schema: {
        ...open,
        operationId: "getOpenApi",
        summary: "This description, for programs",
        description: "OpenAPI 3.1.",
        response: { 200: z.looseObject({ openapi: z.string() }) },
        "x-answers": { 200: { description: "The OpenAPI document." } },
      },
    },
    () => readDocument(app) as ReturnType<typeof readDocument> & Record<string, unknown>,
  );

  app.get(
    "/docs",
    {
      schema: {
        ...open,
        operationId: "getDocs",
        summary: "This description, for people",
        description: "Every call with an example for the shell.",
        "x-answers": { 200: { description: "The page.", contentType: "text/html" } },
      },
    },
    async (request, reply) => {
      // The Host header is the reader's word; it is shown only when it can be nothing but a host.
      const host = /^(?:[\w.-]{1,253}|\[[\da-f:.]{2,45}\])(?::\d{1,5})?$/i.test(request.host)
        ? request.host
        : "127.0.0.1";
      const page = renderDocs(readDocument(app), `http://${host}`, stages);
      return await reply.header("content-security-policy", PAGE_POLICY).type("text/html; charset=utf-8").send(page);
    },
  );

  // Who types the address that the start prints wants to see something.
  app.get("/", { schema: { hide: true } }, async (_request, reply) => await reply.redirect("/docs"));

  app.get("/docs/style.css", { schema: { hide: true } }, async (_request, reply) => {
    return await reply.header("cache-control", "public, max-age=3600").type("text/css; charset=utf-8").send(style);
  });

  app.get("/docs/icon.svg", { schema: { hide: true } }, async (_request, reply) => {
    return await reply.header("cache-control", "public, max-age=86400").type("image/svg+xml").send(icon);
  });
}
