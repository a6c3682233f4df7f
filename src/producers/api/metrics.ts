import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { ApiParts } from "./ports.ts";
import { HINT_OUTCOMES, type HintOutcome } from "./hints.ts";
import type { Check, Status } from "./status.ts";

/** Numbers for Prometheus. No label holds an id, a name or anything a client sent. */
export interface Metrics {
  /** The text of /metrics. Answers although Redis is away: then `signpipe_redis_up` is 0. */
  text(): Promise<string>;
  contentType: string;
  hint(outcome: HintOutcome): void;
  notification(outcome: NotificationOutcome): void;
  answered(labels: { method: string; route: string; status: number }, durationMs: number): void;
}

export type NotificationOutcome = "accepted" | "unreadable" | "wrong-secret" | "dropped";

export function createMetrics({
  pipeline,
  status,
  notifications: told,
  answers,
}: {
  pipeline: Pick<ApiParts["pipeline"], "counts">;
  status: () => Promise<Status>;
  notifications: Pick<ApiParts["notifications"], "figures">;
  answers: ApiParts["answers"];
}): Metrics {
  const register = new Registry();
  const registers = [register];
  collectDefaultMetrics({ register });
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name, help, labelNames, registers });

  const redisUp = gauge("signpipe_redis_up", "1 when the queue answered this scrape.");
  const requests = gauge("signpipe_requests", "Requests by state.", ["state"]);
  const jobs = gauge("signpipe_queue_jobs", "Jobs by stage and by what the queue says of them.", ["stage", "status"]);
  const overdue = gauge("signpipe_requests_overdue", "Open requests that nobody looked at when it was time to.");
  const withoutNextStep = gauge(
    "signpipe_requests_without_next_step",
    "Open requests without a job that the last round of the housekeeping found, and gave one.",
  );
  const uncleaned = gauge(
    "signpipe_requests_uncleaned",
    "Requests that are over and may have left documents at the provider: cleaning up after them was given up.",
  );
  const unreadable = gauge("signpipe_requests_unreadable", "Open requests whose record in Redis cannot be read.");
  const undelivered = gauge(
    "signpipe_notifications",
    "Notifications that were not delivered: waiting to be, or given up (30 days).",
    ["state"],
  );
  const oldest = gauge("signpipe_notifications_oldest_seconds", "Age of the oldest notification that waits.");
  const results = gauge("signpipe_results", 'Jobs that wait in the queue "results" to be taken.');
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  const delivered = counter("signpipe_notifications_delivered_total", "Notifications that were delivered.");
  const failed = counter("signpipe_notifications_failed_total", "Notifications that were given up, or stopped.");
  const dropped = counter("signpipe_results_dropped_total", 'Jobs of the queue "results" that nobody took in time.');
  const up = gauge("signpipe_up", "1 when the part named is well.", ["part"]);
  const figures = gauge("signpipe_part", "Figures that the part named tells of itself.", ["part", "figure"]);

  const inboxes = gauge("signpipe_inbox", "Figures of each inbox; the one in DATA_DIR is default.", ["root", "figure"]);
  const inboxUp = gauge("signpipe_inbox_up", "1 when the inbox is well, and served.", ["root"]);

  const hints = new Counter({
    name: "signpipe_webhook_hints_total",
    help: "Hints from webhooks by what became of them.",
    labelNames: ["outcome"],
    registers,
  });
  for (const outcome of HINT_OUTCOMES) hints.inc({ outcome }, 0);
  const notifications = new Counter({
    name: "signpipe_webhooks_total",
    help: "Webhook calls by how they were answered.",
    labelNames: ["outcome"],
    registers,
  });
  const durations = new Histogram({
    name: "signpipe_http_request_duration_seconds",
    help: "Time from a call's head to the end of its answer.",
    labelNames: ["method", "route", "status"],
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
    registers,
  });

  async function readPipeline(): Promise<void> {
    requests.reset();
    jobs.reset();
    try {
      const counts = await pipeline.counts();
      redisUp.set(1);
      overdue.set(counts.overdue);
      withoutNextStep.set(counts.withoutNextStep);
      uncleaned.set(counts.uncleaned);
      unreadable.set(counts.unreadable);
      for (const [state, number] of Object.entries(counts.states)) requests.set({ state }, number);
      for (const [stage, byStatus] of Object.entries(counts.queues)) {
        for (const [name, number] of Object.entries(byStatus)) jobs.set({ stage, status: name }, number);
      }
    } catch {
      redisUp.set(0);
    }
  }

  /** Of all processes: the figures are in Redis. */
  async function readOutward(): Promise<void> {
    try {
      const [now, waiting] = await Promise.all([told.figures(), answers.figures()]);
      undelivered.set({ state: "waiting" }, now.waiting);
      undelivered.set({ state: "failed" }, now.failed);
      oldest.set(now.oldestMs / 1000);
      results.set(waiting.waiting);
      for (const [one, ever] of [
        [delivered, now.deliveredEver],
        [failed, now.failedEver],
        [dropped, waiting.droppedEver],
      ] as const) {
        one.reset();
        one.inc(ever);
      }
    } catch {
      // signpipe_redis_up says so
    }
  }

  async function readStatus(): Promise<void> {
    up.reset();
    figures.reset();
    inboxes.reset();
    inboxUp.reset();
    const { inboxes: others = {}, ...parts } = await status().catch((): Partial<Status> => ({}));
    const roots = { ...(parts.inbox && { default: parts.inbox }), ...others };
    for (const [root, check] of Object.entries(roots)) {
      inboxUp.set({ root }, check.ok ? 1 : 0);
      for (const [figure, number] of Object.entries(check.figures ?? {})) inboxes.set({ root, figure }, number);
    }
    for (const [part, check] of Object.entries<Check | undefined>(parts)) {
      if (!check) continue;
      up.set({ part }, check.ok ? 1 : 0);
      for (const [figure, number] of Object.entries(check.figures ?? {})) figures.set({ part, figure }, number);
    }
  }

  return {
    contentType: register.contentType,
    async text() {
      await Promise.all([readPipeline(), readOutward(), readStatus()]);
      return await register.metrics();
    },
    hint: (outcome) => hints.inc({ outcome }),
    notification: (outcome) => notifications.inc({ outcome }),
    answered: ({ method, route, status: code }, durationMs) =>
      durations.observe({ method, route, status: `${Math.floor(code / 100)}xx` }, durationMs / 1000),
  };
}
