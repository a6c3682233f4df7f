import { z } from "zod";
import { Reminded } from "./correction.ts";
import { noticeOf } from "./notice.ts";
import { RequestId, type SignRequest } from "./request.ts";
import { ENDINGS, isEnd, PHASES } from "./status.ts";

/** What a notification can be about: where a request has come to, and that its signer is to be reminded. */
export const NOTIFICATION_TYPES = [
  "request.accepted",
  "request.waiting",
  "request.reminded",
  "request.done",
  ...ENDINGS.map((ending) => `request.${ending}` as const),
] as const;
export type NotificationType = (typeof NOTIFICATION_TYPES)[number];

const Time = z.iso.datetime();

/**
 * What those who follow a request are told: where it is, and nothing about people. The body of a webhook, and part of a
 * job of the queue "results".
 * @source Standard Webhooks 1.0.0, "Payload structure"
 */
export const Notification = z
  .strictObject({
    type: z.enum(NOTIFICATION_TYPES).describe("request. and the state, or what was asked for."),
    timestamp: Time.describe("When it came about. Of two about one request, the later one holds."),
    data: z.strictObject({
      id: RequestId.describe("The request's id."),
      reference: z.string().optional().describe("Your own id for it."),
      tenant: z.string().optional().describe("On whose account, where it is not the default one."),
      group: z
        .strictObject({ id: RequestId, n: z.int(), of: z.int() })
        .optional()
        .describe("Where it stands among those that were handed in together."),
      stage: z.string().describe("The step that it is at."),
      state: z.enum(PHASES).describe("The same as in the API."),
      waiting: z
        .strictObject({
          for: z.string().describe("What it waits for."),
          whose: z.string().describe("Whose turn it is."),
          until: Time.describe("When it ends as expired."),
        })
        .optional(),
      failure: z.strictObject({ code: z.string() }).optional().describe("Why it did not end as done."),
      notice: z.strictObject({ code: z.string() }).optional().describe("What is to be known beside the state."),
      reminders: z
        .strictObject({ count: z.int(), last_at: Time })
        .optional()
        .describe("How often the signer was to be reminded."),
      created_at: Time,
      links: z.strictObject({ self: z.string() }).describe("Addresses in the API, without its origin."),
    }),
  })
  .meta({ title: "signpipe notification" });
export type Notification = z.infer<typeof Notification>;

/** The id of the notification about a request's present state. The same for as long as that state lasts. */
export function notificationIdOf({ id, updatedMs }: Pick<SignRequest, "id" | "updatedMs">): string {
  return `msg_${id}_${updatedMs.toString(36)}`;
}

/** Whether a state is one that others are told of: somebody has to act, or it is over. */
export function isTold({ phase }: Pick<SignRequest, "phase">): boolean {
  return phase === "waiting" || isEnd(phase);
}

/**
 * What is to be told of a request as it is; `type` is what it is about, when that is not its state. That the signer is
 * to be reminded has a type of its own as long as nothing else has happened since; the number of reminders is told in
 * any case. Pure.
 */
export function toNotification(request: SignRequest, type?: NotificationType): Notification {
  const { id, reference, stage, phase, waiting, failure, facts, createdMs, updatedMs } = request;
  const reminded = Reminded.safeParse(facts["reminded"]).data;
  const { tenant, group } = Shown.parse(facts);
  const notice = noticeOf(request);
  const about = reminded?.atMs === updatedMs ? "reminded" : phase;
  return {
    type: type ?? (`request.${about}` as NotificationType),
    timestamp: toTime(updatedMs),
    data: {
      id,
      ...(reference !== undefined && { reference }),
      ...(tenant !== undefined && { tenant }),
      ...(group && { group }),
      stage,
      state: phase,
      ...(waiting && { waiting: { for: waiting.for, whose: waiting.whose, until: toTime(waiting.untilMs) } }),
      ...(failure && { failure: { code: failure.code } }),
      ...(notice && { notice: { code: notice.code } }),
      ...(reminded && { reminders: { count: reminded.count, last_at: toTime(reminded.atMs) } }),
      created_at: toTime(createdMs),
      links: { self: `/v1/requests/${id}` },
    },
  };
}

const Shown = z.object({
  tenant: z.string().optional().catch(undefined),
  group: z.object({ id: RequestId, n: z.int(), of: z.int() }).optional().catch(undefined),
});

function toTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** The JSON Schema of a notification (draft 2020-12). */
export function notificationJsonSchema(): object {
  return z.toJSONSchema(Notification);
}
