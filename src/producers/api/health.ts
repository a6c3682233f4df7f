import { z } from "zod";
import type { Metrics } from "./metrics.ts";
import type { ApiParts, Server } from "./ports.ts";
import { Health, toHealth } from "./status.ts";

const Alive = z.object({ status: z.literal("alive"), version: z.string() }).meta({ id: "Alive" });

/** Adds the calls for those who watch over the service. */
export function addHealth(app: Server, { status, version }: Pick<ApiParts, "status" | "version">): void {
  app.get(
    "/health/live",
    {
      schema: {
        operationId: "isAlive",
        summary: "Is the process alive?",
        description: "Asks nobody else. When it does not answer, start the process again.",
        tags: ["Watching"],
        security: [],
        response: { 200: Alive },
        "x-answers": { 200: { description: "Alive." } },
      },
    },
    () => ({ status: "alive" as const, version }),
  );

  app.get(
    "/health/ready",
    {
      schema: {
        operationId: "isReady",
        summary: "Can it take requests and work on them?",
        description:
          "Looks at the queue, the inbox and the workers, as far as this process knows them. The provider is told of but " +
          "not decisive: requests are accepted and kept while it is away.",
        tags: ["Watching"],
        security: [],
        response: { 200: Health, 503: Health },
        "x-answers": { 200: { description: "Ready." }, 503: { description: "Not ready; reasons says why." } },
      },
    },
    async (request, reply) => {
      const health = toHealth(
        await status().catch((error: unknown) => {
          request.log.warn({ err: error }, "status not readable");
          return { redis: { ok: false, note: "its state cannot be read" } };
        }),
      );
      return await reply.code(health.status === "ready" ? 200 : 503).send(health);
    },
  );
}

/** Adds `GET /metrics`. */
export function addMetrics(app: Server, { metrics, open }: { metrics: Metrics; open: boolean }): void {
  app.get(
    "/metrics",
    {
      schema: {
        operationId: "getMetrics",
        summary: "Numbers for Prometheus",
        description: "Requests by state, jobs by stage, what is overdue, webhooks, answer times, the process.",
        tags: ["Watching"],
        ...(open && { security: [] }),
        "x-answers": { 200: { description: "Text in the Prometheus exposition format.", contentType: "text/plain" } },
      },
    },
    async (_request, reply) => await reply.type(metrics.contentType).send(await metrics.text()),
  );
}
