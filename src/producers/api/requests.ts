import { z } from "zod";
import { Correction } from "../../core/correction.ts";
import { PermanentError } from "../../core/errors.ts";
import { RequestId, type SignRequest } from "../../core/request.ts";
import type { ApiParts, Server } from "./ports.ts";
import type { ProblemCode } from "./problem.ts";
import { actOnce } from "./once.ts";
import { RequestView, toView } from "./view.ts";

/** Any text: what is no id is answered like an id that nobody has. */
export const IdParams = z.object({
  id: z.string().describe("The request's id, like req-… with 26 letters and digits."),
});

/** An id that can exist. Throws PermanentError "no-such-request", as for one that nobody has. */
export function toId(text: string): RequestId {
  const parsed = RequestId.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new PermanentError("There is no request with this id", { code: "no-such-request" });
}

const visible = (text: string) => text.replaceAll(/\p{Cc}+/gu, " ").trim();

const Refusal = z.strictObject({
  reason: z
    .string("must be a sentence that says why")
    .max(500)
    .transform(visible)
    .pipe(z.string().min(1, "must be a sentence that says why"))
    .describe("Why, in a sentence. The provider keeps it."),
});

const Code = z.strictObject({
  secret: z
    .string("must be a string, because a code may begin with 0")
    .trim()
    .min(1, "must not be empty")
    .max(64)
    .describe("The code from the text message, as a string."),
});

const ACTING_PROBLEMS = [
  "invalid-request",
  "invalid-json",
  "no-such-request",
  "not-possible-now",
  "contended",
  "unsupported-media-type",
  "invalid-idempotency-key",
  "idempotency-in-progress",
  "idempotency-mismatch",
] as const satisfies ProblemCode[];

const NoBody = z.looseObject({}).nullish();

/** Adds the calls that act on a request. Each answers 202 with the request as it is after the act was recorded. */
export function addActing(app: Server, { pipeline, idempotency }: Pick<ApiParts, "pipeline" | "idempotency">): void {
  const act = <Body extends z.ZodType = typeof NoBody>(
    path: string,
    { problems, body, accepted = "Recorded. The request as it is now.", example, ...said }: Act<Body>,
    run: (id: RequestId, asked: { by: string; call: string | undefined; body: z.output<Body> }) => Promise<SignRequest>,
  ) => {
    app.post(
      `/v1/requests/:id/${path}`,
      {
        schema: {
          ...said,
          tags: ["Acting"],
          params: IdParams,
          body: body ?? NoBody,
          response: { 202: RequestView },
          "x-answers": {
            202: {
              description: accepted,
              headers: { "Idempotency-Replayed": "true when it was done before, under the same Idempotency-Key." },
            },
          },
          ...(example && { "x-body-example": example }),
          "x-problems": [...ACTING_PROBLEMS, ...problems],
        },
      },
      async (request, reply) => {
        const id = toId(request.params.id);
        const by = `api:${request.keyName}`;
        const { answer, replayed } = await actOnce(request, idempotency, {
          id,
          get: () => pipeline.get(id),
          // Parsed at the door by `body`, whose type is lost where it may be any of several.
          run: (call) => run(id, { by, call, body: request.body as z.output<Body> }),
          show: toView,
        });
        if (replayed) void reply.header("idempotency-replayed", "true");
        return await reply.code(202).send(answer);
      },
    );
  };

  act(
    "remind",
    {
      operationId: "remindOfRequest",
      summary: "Have the signer reminded",
      description:
        "For requests that wait for the identification. The provider reminds nobody: the answer has the videoid_link " +
        "once more, to be passed on, and whoever follows the request (callback_url, the status beside the inbox) is " +
        "told. Counted, and noted in the history.",
      problems: [],
    },
    (id, { by, call }) => pipeline.remind(id, by, call),
  );

  act(
    "correct",
    {
      operationId: "correctRequest",
      summary: "Correct the signer's data",
      description:
        "While the identification is open, and before anybody has decided: it is corrected at the provider, and here " +
        "once the provider has taken it; `order` tells. What the identification found out the provider does not let " +
        "be changed. A request that failed or expired and is gone there, or a classic one that waits for its " +
        "approval, is corrected here, for what comes next. Only what is named is changed.",
      body: Correction,
      accepted: "Recorded. What the provider says shows in `order` a moment later.",
      example: { mobile_phone_number: "+34699999998" },
      problems: ["signer-erased"],
    },
    (id, { by, call, body }) => pipeline.correct(id, body, by, call),
  );

  act(
    "restart",
    {
      operationId: "restartRequest",
      summary: "Begin the identification anew",
      description:
        "For requests that wait for the identification or for the decision on it, and those that failed, or expired and " +
        "are gone at the provider. A request there is cancelled first; then another one is made, with a link of its " +
        "own. That costs another identification.",
      problems: [],
    },
    (id, { by, call }) => pipeline.restart(id, by, call),
  );

  act(
    "approve",
    {
      operationId: "approveRequest",
      summary: "Approve the identification",
      description: "For requests that wait for a decision on the signer's identification. The first decision holds.",
      problems: ["already-decided"],
    },
    (id, { by, call }) => pipeline.approve(id, by, call),
  );

  act(
    "refuse",
    {
      operationId: "refuseRequest",
      summary: "Refuse the identification",
      description: "The opposite of approve. The request ends as refused, and its documents leave the provider.",
      body: Refusal,
      example: { reason: "The photograph does not show the signer." },
      problems: ["already-decided"],
    },
    (id, { by, call, body }) => pipeline.refuse(id, body.reason, by, call),
  );

  act(
    "code",
    {
      operationId: "giveCode",
      summary: "Hand over the signer's code",
      description:
        "For requests that wait for the code that the signer was sent. It is kept encrypted, for minutes, and is in " +
        "no log. A wrong code makes the request wait for another one.",
      body: Code,
      accepted: "Taken. Whether it is the right one shows in the request a moment later.",
      example: { secret: "052174" },
      problems: [],
    },
    (id, { by, call, body }) => pipeline.giveCode(id, body.secret, by, call),
  );

  act(
    "code/resend",
    {
      operationId: "resendCode",
      summary: "Have a new code sent",
      description:
        "At least a minute after the last one, and a bounded number of times. Codes sent before lose their use.",
      problems: ["otp-too-soon", "otp-too-many"],
    },
    (id, { by, call }) => pipeline.resendCode(id, by, call),
  );

  act(
    "cancel",
    {
      operationId: "cancelRequest",
      summary: "Cancel a request",
      description:
        "It ends as cancelled, and its documents leave the provider; others of its group go on. Not once the signature may have been made. Should it " +
        "turn out to be signed all the same, it is done, with a notice that says so.",
      problems: ["too-late"],
    },
    (id, { by, call }) => pipeline.cancel(id, by, call),
  );

  act(
    "retry",
    {
      operationId: "retryRequest",
      summary: "Take a failed request up again",
      description:
        "For requests that failed or expired: they go on at the step where that makes sense. One that is over, however it " +
        "ended, and whose notice is cleanup-given-up, is cleaned up again and ends as before.",
      problems: [],
    },
    (id, { by, call }) => pipeline.retry(id, by, call),
  );
}

interface Act<Body extends z.ZodType> {
  operationId: string;
  summary: string;
  description: string;
  /** What is sent with it; nothing, when left out. */
  body?: Body;
  example?: z.input<Body>;
  /** What an answer of 202 means. */
  accepted?: string;
  /** Besides those of every act. */
  problems: readonly ProblemCode[];
}
