import type { FastifyReply, FastifyRequest } from "fastify";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
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
  if (refusal.retryAfterSeconds !== undefined) void reply.header("retry-after", refusal.retryAfterSeconds);
  // Already text: the schemas of the answers are for successful ones.
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
  const errors = thrown.validation.slice(0, 20).map(({ instancePath, message = "is not valid" }) => {
    return { field: [where, ...instancePath.split("/").filter(Boolean)].join("."), message };
  });
  const [first] = errors;
  return new ApiError("invalid-request", `${first?.field ?? where}: ${first?.message ?? "is not valid"}.`, errors);
}

function toPattern(url: string): RegExp {
  const segments = url.split("/").map((segment) => {
    if (segment === "*") return ".*";
    return segment.startsWith(":") ? "[^/]+" : segment.replaceAll(/[.+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${segments.join("/")}/?$`);
}
