import type { Context } from "./context.ts";
import { contractTailPath, filesOf, move, note } from "./context.ts";
import { removeFiles } from "./files.ts";
import type { Outcome } from "./options.ts";
import { mayMove } from "./states.ts";
import type { MoveName } from "./states.ts";
import type { Person, Request } from "./store.ts";

/** People who act by themselves, as far as the settings say so. */
export type Humans = {
  /** Called after every transition. */
  after: (request: Request) => void;
};

export type Turn = "done" | "wrong-state";

const MOVE_OF: Record<Outcome, MoveName> = { complete: "complete", incomplete: "leave", fail: "fail" };

/** Whether a signer's link has grown too old. */
export const isLinkOver = ({ clock, settings: { linkLifetimeMs } }: Context, request: Request): boolean =>
  linkLifetimeMs > 0 && clock.now() - request.createdAt > linkLifetimeMs;

/** The signer's turn at `videoid_link`. Says whether the request, and the link, allowed it. */
export function identify(context: Context, request: Request, outcome: Outcome, person: Person = {}): Turn {
  const step = MOVE_OF[outcome];
  if (!mayMove(request.status, step) || isLinkOver(context, request)) return "wrong-state";
  if (outcome === "complete") {
    request.identified = true;
    Object.assign(request.person, person);
  }
  move(context, request, step);
  note(context, "identify", request, { status: request.status, reason: outcome });
  return "done";
}

/** The validation of 2-step mode, by an operator of the provider or by a RAO. */
export function validate(context: Context, request: Request): Turn {
  if (request.videoidMode !== 2 || !mayMove(request.status, "validate")) return "wrong-state";
  move(context, request, "validate");
  note(context, "validate", request, { status: request.status });
  if (context.settings.validationLeadsTo === "ENROLLREADY") approve(context, request);
  return "done";
}

/** The RAO's approval, however it came; `rao` is the officer's number. In 2-step mode it needs the validation before it. */
export function approve(context: Context, request: Request, rao?: string): Turn {
  const tooEarly = request.videoidMode === 2 && request.status === "VIDEOREVIEW";
  if (tooEarly || !mayMove(request.status, "approve")) return "wrong-state";
  if (rao !== undefined) request.approvedBy = rao;
  move(context, request, "approve");
  note(context, "approve", request, { status: request.status });
  return "done";
}

/** The RAO's refusal, which ends the request. */
export function refuse(context: Context, request: Request, reason: string): Turn {
  if (!mayMove(request.status, "refuse")) return "wrong-state";
  request.refusalReason = reason;
  move(context, request, "refuse");
  note(context, "refuse", request, { status: request.status });
  return "done";
}

/** Ends a request that is not signed, and takes its documents away. */
export function cancel(context: Context, request: Request): Turn {
  if (!mayMove(request.status, "cancel")) return "wrong-state";
  move(context, request, "cancel");
  removeFiles([...filesOf(context, [...request.documents.keys()]), contractTailPath(context, request.pk)]);
  request.documents.clear();
  note(context, "cancel", request, { status: request.status });
  return "done";
}

export function createHumans(context: () => Context): Humans {
  return {
    after(request) {
      const { clock, settings } = context();
      const { signer, signerDelayMs, signerOutcome, operator, operatorDelayMs, rao, raoDelayMs } = settings.humans;
      const { status, videoidMode } = request;
      const twice = signerOutcome === "incomplete-then-complete";
      if (signer === "auto" && status === "VIDEOPENDING") {
        clock.later(signerDelayMs, () => identify(context(), request, twice ? "incomplete" : signerOutcome));
      }
      if (signer === "auto" && twice && status === "VIDEOINCOMPLETE") {
        clock.later(signerDelayMs, () => identify(context(), request, "complete"));
      }
      if (operator === "auto" && videoidMode === 2 && status === "VIDEOREVIEW") {
        clock.later(operatorDelayMs, () => validate(context(), request));
      }
      const turn = videoidMode === 2 ? "CREATED" : "VIDEOREVIEW";
      if (rao === "auto" && request.videoidPk !== undefined && status === turn) {
        clock.later(raoDelayMs, () => approve(context(), request));
      }
    },
  };
}
