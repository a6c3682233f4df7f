import { z } from "zod";
import type { Standstill } from "../../queues/lanes.ts";
import type { ApiParts, Server } from "./ports.ts";

const StandstillView = z
  .object({
    lane: z.enum(["rao", "billing", "all"]).describe("Calls with the RAO's credentials, creations, or all calls."),
    whose: z
      .string()
      .optional()
      .describe("Whose credentials, by the names of the tenant and the RAO; ours when left out."),
    code: z.string(),
    reason: z.string().describe("What stands still, and what to do."),
    since: z.string().describe("ISO 8601, UTC, with milliseconds."),
  })
  .meta({ id: "Standstill" });

const Standstills = z.object({ items: z.array(StandstillView).describe("Empty when all goes.") }).meta({
  id: "Standstills",
});

function toItems(found: readonly Standstill[]): z.infer<typeof Standstills> {
  return {
    items: found.map(({ lane, whose, code, reason, sinceMs }) => ({
      lane,
      ...(whose !== undefined && { whose }),
      code,
      reason,
      since: new Date(sinceMs).toISOString(),
    })),
  };
}

/** Adds the calls about what stands still at the provider. */
export function addLanes(app: Server, { pipeline }: Pick<ApiParts, "pipeline">): void {
  app.get(
    "/v1/lanes",
    {
      schema: {
        operationId: "listStandstills",
        summary: "What stands still?",
        description:
          "Calls to the provider that are not made at present: because it rejected our credentials, does not answer, or " +
          "asked for a pause. Requests wait meanwhile, and none fails for it.",
        tags: ["Watching"],
        response: { 200: Standstills },
        "x-answers": { 200: { description: "All that stands still, with what to do." } },
      },
    },
    async () => toItems(await pipeline.standstills()),
  );

  app.post(
    "/v1/lanes/resume",
    {
      schema: {
        operationId: "resumeLanes",
        summary: "Let calls go on",
        description:
          "For an operator who mended the cause at the provider. One call is let through; when it is accepted, the others " +
          "follow within a minute. With corrected credentials a restart is enough.",
        tags: ["Acting"],
        body: z.looseObject({}).nullish(),
        response: { 200: Standstills },
        "x-answers": { 200: { description: "What stood still." } },
        "x-problems": ["invalid-json", "unsupported-media-type"],
      },
    },
    async (request) => {
      const resumed = await pipeline.resume();
      request.log.info({ by: `api:${request.keyName}`, lanes: resumed.map(({ lane }) => lane) }, "calls resumed");
      return toItems(resumed);
    },
  );
}
