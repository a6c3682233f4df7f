import type { Context } from "./context.ts";
import { move } from "./context.ts";
import type { Outcome } from "./options.ts";
import { mayMove } from "./states.ts";
import type { MoveName } from "./states.ts";
import type { Person, Request } from "./store.ts";

/** People who act by themselves, as far as the settings say so. */
export type Humans = {
  /** Called after every transition. */
  after: (request: Request) => void;
  close: () => void;
};

const MOVE_OF: Record<Outcome, MoveName> = { complete: "complete", incomplete: "leave", fail: "fail" };

/** The signer's turn at `videoid_link`. Says whether the request was in a status that allows it. */
export function identify(
  context: Context,
  request: Request,
  outcome: Outcome,
  person: Person = {},
): "done" | "wrong-state" {
  const step = MOVE_OF[outcome];
  if (!mayMove(request.status, step)) return "wrong-state";
  if (outcome === "complete") {
    request.identified = true;
    Object.assign(request.person, person);
  }
  move(context, request, step);
  context.ledger.add("identify", {
    request_pk: request.pk,
    videoid_pk: request.videoidPk,
    status: request.status,
    reason: outcome,
  });
  return "done";
}

/** The RAO's approval, however it came. */
export function approve(context: Context, request: Request): "done" | "wrong-state" {
  if (!mayMove(request.status, "approve")) return "wrong-state";
  move(context, request, "approve");
  context.ledger.add("approve", { request_pk: request.pk, videoid_pk: request.videoidPk, status: request.status });
  return "done";
}

export function createHumans(context: () => Context): Humans {
  const timers = new Set<NodeJS.Timeout>();
  const later = (ms: number, work: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      work();
    }, ms);
    timers.add(timer);
  };
  return {
    after(request) {
      const { signer, signerDelayMs, signerOutcome, rao, raoDelayMs } = context().settings.humans;
      const twice = signerOutcome === "incomplete-then-complete";
      if (signer === "auto" && request.status === "VIDEOPENDING") {
        later(signerDelayMs, () => identify(context(), request, twice ? "incomplete" : signerOutcome));
      }
      if (signer === "auto" && twice && request.status === "VIDEOINCOMPLETE") {
        later(signerDelayMs, () => identify(context(), request, "complete"));
      }
      if (rao === "auto" && request.status === "VIDEOREVIEW") later(raoDelayMs, () => approve(context(), request));
    },
    close() {
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
    },
  };
}
