import { z } from "zod";
import { NOTIFICATION_TYPES } from "../../core/notification.ts";
import type { Delivery } from "../../queues/notifications.ts";
import type { ApiParts, Server } from "./ports.ts";
import { IdParams, toId } from "./requests.ts";

const DAY_MS = 86_400_000;

/** A notification, with what became of it. */
export const NotificationView = z
  .object({
    id: z.string().describe("Its webhook-id."),
    type: z.enum(NOTIFICATION_TYPES),
    timestamp: z.string().describe("When what it tells came about."),
    state: z
      .enum(["waiting", "delivered", "failed", "stopped"])
      .describe("failed: given up. stopped: the receiver answered 410, and is told nothing more."),
    attempts: z.int(),
    last_at: z.string().optional().describe("When it was last tried."),
    status: z.int().optional().describe("The HTTP status of the last answer."),
    code: z.string().optional().describe("Why the last attempt failed."),
    next_at: z.string().optional().describe("When it is tried next."),
  })
  .meta({ id: "Notification" });

const NotificationList = z
  .object({ items: z.array(NotificationView).describe("Oldest first, a hundred at the most, for 30 days.") })
  .meta({ id: "NotificationList" });

const NotificationParams = IdParams.extend({ notification: z.string().max(200).describe("The notification's id.") });
const Since = z.strictObject({
  since: z.iso.datetime("must be a time like 2026-11-24T08:00:00Z").describe("What came about from then on."),
});
const Replayed = z.object({ replayed: z.int().describe("How many are told once more, a thousand at the most.") });

/** Adds the calls that are about what callers were told. */
export function addNotifications(
  app: Server,
  { pipeline, notifications }: Pick<ApiParts, "pipeline" | "notifications">,
) {
  app.get(
    "/v1/requests/:id/notifications",
    {
      schema: {
        operationId: "listNotifications",
        summary: "Read what a request's callback address was told",
        description: "Each notification with what became of it, and when it is tried again.",
        tags: ["Notifications"],
        params: IdParams,
        response: { 200: NotificationList },
        "x-answers": { 200: { description: "The log." } },
        "x-problems": ["no-such-request"],
      },
    },
    async ({ params }) => {
      const { id } = await pipeline.get(toId(params.id));
      return { items: (await notifications.list(id)).map(toView) };
    },
  );

  app.post(
    "/v1/requests/:id/notifications/:notification/replay",
    {
      schema: {
        operationId: "replayNotification",
        summary: "Tell a notification once more",
        description: "Under the same id, whatever became of it before. An address that had answered 410 is told again.",
        tags: ["Notifications"],
        params: NotificationParams,
        body: z.looseObject({}).nullish(),
        response: { 202: NotificationView },
        "x-answers": { 202: { description: "Queued. The notification as it is now." } },
        "x-problems": [
          "invalid-request",
          "invalid-json",
          "no-such-request",
          "no-such-notification",
          "unsupported-media-type",
        ],
      },
    },
    async ({ params }, reply) => {
      const { id } = await pipeline.get(toId(params.id));
      return await reply.code(202).send(toView(await notifications.replay(id, params.notification)));
    },
  );

  app.post(
    "/v1/notifications/replay",
    {
      schema: {
        operationId: "replayNotifications",
        summary: "Tell once more what was not delivered",
        description:
          "Of all requests: what came about since then and is still to be told, was given up, or was stopped. For keys " +
          "that are for all tenants.",
        tags: ["Notifications"],
        body: Since,
        response: { 202: Replayed },
        "x-answers": { 202: { description: "Queued." } },
        "x-body-example": { since: new Date(Date.UTC(2026, 10, 24) - DAY_MS).toISOString() },
        "x-problems": ["invalid-request", "invalid-json", "unsupported-media-type"],
      },
    },
    async ({ body }, reply) => {
      const replayed = await notifications.replayUndelivered(Date.parse(body.since));
      return await reply.code(202).send({ replayed });
    },
  );
}

function toView({ id, notification, state, attempts, lastMs, status, code, nextMs }: Delivery) {
  const { type, timestamp } = notification;
  return {
    id,
    type,
    timestamp,
    state,
    attempts,
    ...(lastMs !== undefined && { last_at: new Date(lastMs).toISOString() }),
    ...(status !== undefined && { status }),
    ...(code !== undefined && { code }),
    ...(nextMs !== undefined && { next_at: new Date(nextMs).toISOString() }),
  };
}
