import multipart from "@fastify/multipart";
import fastify from "fastify";
import type { FastifyInstance, FastifyReply } from "fastify";
import { z } from "zod";
import type { Context } from "./context.ts";
import { controlRoutes } from "./control.ts";
import { errorAnswer, InvalidJson, NoSuchRoute, render } from "./envelopes.ts";
import type { Answer } from "./envelopes.ts";
import { installFaults } from "./faulty.ts";
import { BASE_PATHS, formsOf, OPERATIONS } from "./operations.ts";
import type { Generation, Handler, OperationName } from "./operations.ts";
import type { SimulatorOptions } from "./options.ts";
import { pageRoutes } from "./pages/routes.ts";
import { contractHandlers } from "./routes/contract.ts";
import { createHandlers } from "./routes/create.ts";
import { documentHandlers } from "./routes/document.ts";
import { externalHandlers } from "./routes/external.ts";
import { imageHandlers } from "./routes/image.ts";
import { optimizerHandlers } from "./routes/optimizer.ts";
import { otpHandlers } from "./routes/otp.ts";
import { requestHandlers } from "./routes/request.ts";
import { signHandlers } from "./routes/sign.ts";
import { tokenHandlers } from "./routes/token.ts";
import { uploadHandlers } from "./routes/upload.ts";
import { videoidHandlers } from "./routes/videoid.ts";
import { checkCall } from "./schema.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The provider's operation that a route serves; absent on the simulator's own routes. */
    operation?: OperationName;
    generation?: Generation;
  }
}

const BODY_BYTES = 4 << 20;
/** Evidences carry their images as Base64. */
const EVIDENCES_BYTES = 64 << 20;

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

const handlersOf = (context: Context): Record<OperationName, Handler> => ({
  ...videoidHandlers(context),
  ...externalHandlers(context),
  ...createHandlers(context),
  ...requestHandlers(context),
  ...uploadHandlers(context),
  ...documentHandlers(context),
  ...contractHandlers(context),
  ...otpHandlers(context),
  ...signHandlers(context),
  ...tokenHandlers(context),
  ...imageHandlers(context),
  ...optimizerHandlers(context),
});

function acceptBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(/^application\/([\w.-]+\+)?json/, { parseAs: "string" }, (_call, body, done) => {
    if (body === "") return done(null, undefined);
    try {
      done(null, JSON.parse(body as string));
    } catch (error) {
      done(
        new InvalidJson(
          `Could not parse JSON body - ${error instanceof Error ? error.message.replace(/".*"/s, "text") : ""}`,
        ),
      );
    }
  });
  // Any other type is read to its end and counts as no body; the route then misses its fields.
  app.addContentTypeParser("*", (_call, payload, done) => {
    payload
      .resume()
      .on("end", () => done(null, undefined))
      .on("error", done);
  });
}

const isAnswer = (result: Answer | FastifyReply): result is Answer => "kind" in result && result.kind === "answer";

/**
 * The provider's routes in one generation; a known path with another method is 405, as the framework of the real server
 * words it.
 */
function serveApi(api: FastifyInstance, context: Context, generation: Generation): void {
  const handlers = handlersOf(context);
  const known = new Map<string, Set<string>>();
  for (const operation of Object.keys(OPERATIONS) as OperationName[]) {
    for (const { method, url } of formsOf(operation, generation)) {
      known.set(url, (known.get(url) ?? new Set<string>()).add(method));
      api.route({
        method,
        url,
        config: { operation, generation },
        ...(operation === "uploadEvidences" && { bodyLimit: EVIDENCES_BYTES }),
        async handler(call, reply) {
          if (generation === "newest") checkCall(context.settings, operation, call);
          const result = await handlers[operation](call, reply, generation);
          if (!isAnswer(result)) return result;
          const { http, body } = render(result, generation, context.settings);
          return reply.code(http).send(body);
        },
      });
    }
  }
  for (const [url, methods] of known) {
    const allow = METHODS.filter((method) => methods.has(method)).join(", ");
    api.route({
      url,
      method: METHODS.filter((method) => !methods.has(method)),
      handler: (_call, reply) => reply.code(405).header("allow", allow).send({ detail: "Method Not Allowed" }),
    });
  }
}

/** The path that is meant: a switch allows forms of it, or takes one away. */
function rewritten({ settings }: Context, url: string): string {
  const { newest, first } = BASE_PATHS;
  const isTwice = settings.doubledPrefix && url.startsWith(newest + first);
  const path = isTwice ? url.slice(0, newest.length) + url.slice(newest.length + first.length) : url;
  const isSlashed = /[^/]\/(\?|$)/.test(path) && (path.startsWith(newest) || path.startsWith(first));
  return isSlashed && settings.trailingSlash === "refused" ? "/no-such-route" : path;
}

/** The whole server: both generations of the API, the control calls, and the pages. */
export function createApp(context: Context, log: SimulatorOptions["log"]): FastifyInstance {
  const app = fastify({
    logger: false,
    forceCloseConnections: true,
    bodyLimit: BODY_BYTES,
    routerOptions: { ignoreTrailingSlash: true },
    rewriteUrl: ({ url = "/" }) => rewritten(context, url),
  });
  acceptBodies(app);
  app.register(multipart, {
    limits: { fileSize: Number.MAX_SAFE_INTEGER, files: 1000, parts: 2000, fieldSize: 1 << 20 },
  });
  installFaults(app, context);
  app.setErrorHandler((error, call, reply) => {
    if (error instanceof z.ZodError) return reply.code(400).send({ error: z.prettifyError(error) });
    const { http, body } = errorAnswer(error, call.routeOptions.config.generation ?? "newest", context.settings);
    if (error instanceof NoSuchRoute && error.allow !== undefined) reply.header("allow", error.allow);
    return reply.code(http).type("application/json").send(body);
  });
  app.setNotFoundHandler((_call, reply) => reply.code(404).send({ detail: "Not Found" }));
  if (log) {
    app.addHook("onResponse", (call, reply, done) => {
      const { operation } = call.routeOptions.config;
      if (operation !== undefined)
        log({ operation, status: reply.statusCode, ms: Math.round(reply.elapsedTime * 10) / 10 });
      done();
    });
  }
  for (const generation of ["newest", "first"] as const) {
    app.register(
      (api, _options, done) => {
        serveApi(api, context, generation);
        done();
      },
      { prefix: BASE_PATHS[generation] },
    );
  }
  controlRoutes(app, context);
  app.register((pages, _options, done) => {
    pageRoutes(pages, context);
    done();
  });
  return app;
}
