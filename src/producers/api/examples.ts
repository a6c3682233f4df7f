import type { z } from "zod";
import type { Accepted, HistoryView, RequestList, RequestView } from "./view.ts";
import { toAccepted } from "./view.ts";

const id = "req-01jd8x3v5q7r9t2w4y6z8a0c1e";
const sha256 = (pair: string) => pair.repeat(32);

const request: RequestView = {
  id,
  workflow: "videoid",
  stage: "sign",
  phase: "waiting",
  state: "waiting",
  reference: "loan-2026-000123",
  waiting: { for: "code", since: "2026-01-15T08:36:33.120Z", until: "2026-01-15T08:46:33.120Z" },
  documents: [{ name: "Loan agreement.pdf", sha256: sha256("3f") }],
  request_pk: 1012632,
  videoid_link: "https://videoid.example/1012632",
  created_at: "2026-01-15T08:20:01.004Z",
  updated_at: "2026-01-15T08:36:33.120Z",
};

const accepted: Accepted = toAccepted(id, 1);
const list: z.infer<typeof RequestList> = { items: [request], next_cursor: null };
const history: z.infer<typeof HistoryView> = {
  items: [
    {
      at: "2026-01-15T08:20:01.004Z",
      event: "note",
      stage: "create",
      phase: "queued",
      by: "api:crm",
      note: "submitted",
    },
    { at: "2026-01-15T08:36:33.120Z", event: "wait", stage: "sign", phase: "waiting", note: "code" },
  ],
};

const notification = {
  id: `msg_${id}_mk5q8x2w`,
  type: "request.waiting",
  timestamp: "2026-01-15T08:36:33.120Z",
  state: "waiting",
  attempts: 1,
  last_at: "2026-01-15T08:36:34.020Z",
  status: 503,
  code: "callback-refused",
  next_at: "2026-01-15T08:36:39.020Z",
};

/** An example of each answer, by the name of its schema. */
export const EXAMPLES: Record<string, unknown> = {
  Request: request,
  Accepted: accepted,
  RequestList: list,
  History: history,
  Notification: notification,
  NotificationList: { items: [notification] },
  Alive: { status: "alive", version: "1.0.0" },
  Health: { status: "ready", reasons: [], checks: { redis: { ok: true }, provider: { ok: true } } },
  Received: { received: true },
};

export const MANIFEST_EXAMPLE = {
  workflow: "videoid",
  reference: "loan-2026-000123",
  signer: { email: "ana@example.com", mobile_phone_number: "+34699999999", given_name: "Ana", surname_1: "García" },
  authentication: { method: "sms" },
};
