import type { FastifyReply, FastifyRequest } from "fastify";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import { toDisplayName } from "./names.ts";
import type { Server } from "./ports.ts";
import { ApiError, toRefusal } from "./problem.ts";

/** Makes every error of the server a problem document, and every address answer the methods it does not take. */
export function addErrors(app: Server): void {
  const routes = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  app.addHook("onRoute", ({ url, method }) => {
    const route = routes.get(url) ?? { pattern: toPattern(url), methods: new Set() };
    for (const name of [method].flat()) route.methods.add(name);
    routes.set(url, route);
  });

  app.setErrorHandler(async (error, request, reply) => await sendProblem(request, reply, error));

  app.setNotFoundHandler(async (request, reply) => {
    // A known route came here on purpose: it does not want to be told apart from an address that does not exist.
    const path = request.url.split("?", 1)[0] ?? "";
    const methods = [...routes.values()]
      .filter(({ pattern }) => pattern.test(path))
      .flatMap((route) => [...route.methods]);
    if (methods.length === 0 || methods.includes(request.method)) {
      return await sendProblem(
        request,
        reply,
        new ApiError("not-found", "There is nothing at this address; see /docs."),
      );
    }
    const allowed = [...new Set([...methods, "OPTIONS"])].sort().join(", ");
    void reply.header("allow", allowed);
    if (request.method === "OPTIONS") return await reply.code(204).send();
    return await sendProblem(request, reply, new ApiError("method-not-allowed", `This address takes ${allowed}.`));
  });
}

/** Answers with the problem document for anything thrown. */
export async function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  thrown: unknown,
): Promise<FastifyReply> {
  const refusal = toRefusal(toFieldErrors(thrown), request.id);
  const { status, code } = refusal.body;
  if (refusal.expected) request.log.debug({ code }, "call refused");
  else request.log.error({ code, err: thrown }, "call failed");
  // Whoever refused may have said already when.
  if (refusal.retryAfterSeconds !== undefined && !reply.hasHeader("retry-after")) {
    void reply.header("retry-after", refusal.retryAfterSeconds);
  }
  // Already text: the schemas of the answers are for successful ones.
  // What the router itself refuses comes by no hook that would have set these.
  if (!reply.hasHeader("x-correlation-id")) {
    void reply.headers({
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "x-correlation-id": request.id,
    });
  }
  return await reply
    .code(status)
    .header("content-type", "application/problem+json; charset=utf-8")
    .serializer((text: string) => text)
    .send(JSON.stringify(refusal.body));
}

/** A body, query or path that does not fit its schema, told by field. */
function toFieldErrors(thrown: unknown): unknown {
  if (!hasZodFastifySchemaValidationErrors(thrown)) return thrown;
  const where = thrown.validationContext === "querystring" ? "query" : (thrown.validationContext ?? "body");
  const errors = thrown.validation.slice(0, 20).flatMap(({ keyword, instancePath, message, params }) => {
    const path = [where, ...instancePath.split("/").filter(Boolean)];
    const told = toMessage(keyword, message, params);
    const keys = keyword === "unrecognized_keys" ? (params["keys"] as string[]) : undefined;
    // A key that is not known is somebody's text: it is shown short, and without what a person could not see.
    if (keys)
      return keys.map((key) => ({ field: [...path, toDisplayName(key, "?").slice(0, 60)].join("."), message: told }));
    return [{ field: path.join("."), message: told }];
  });
  const [first] = errors;
  return new ApiError("invalid-request", `${first?.field ?? where}: ${first?.message ?? "is not valid"}.`, errors);
}

const KINDS: Record<string, string> = { object: "a JSON object", string: "a single text" };

/** The schemas have words of their own for what they ask; these are for what is asked everywhere. */
function toMessage(keyword: string, message = "is not valid", params: Record<string, unknown>): string {
  if (keyword === "unrecognized_keys") return "is not a key that is known here";
  if (keyword === "too_big" && params["origin"] === "string") {
    return `must not be longer than ${String(params["maximum"])} characters`;
  }
  if (keyword !== "invalid_type" || !message.startsWith("Invalid input")) return message;
  const kind = String(params["expected"]);
  return `must be ${KINDS[kind] ?? `a ${kind}`}`;
}

function toPattern(url: string): RegExp {
  const segments = url.split("/").map((segment) => {
    if (segment === "*") return ".*";
    return segment.startsWith(":") ? "[^/]+" : segment.replaceAll(/[.+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${segments.join("/")}/?$`);
}
