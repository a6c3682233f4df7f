import { objectBody, pathInteger } from "../bodies.ts";
import { requestOr } from "../context.ts";
import type { Context } from "../context.ts";
import { gave, Refusal, said } from "../envelopes.ts";
import type { Answer } from "../envelopes.ts";
import type { Handler, Handlers } from "../operations.ts";
import { signLater, signNow } from "../signing/sign-call.ts";

const LATER = "Your documents are going to be signed. You will receive them in a few seconds";

/** @source docs/provider.md §Sign */
export const signHandlers = (context: Context) => {
  const signs =
    (alwaysLater: boolean): Handler =>
    async (call, _reply, generation): Promise<Answer> => {
      const body = objectBody(call.body);
      const pk = pathInteger(call.params, "request_pk");
      const request = requestOr(context, pk, `Request ${pk} not found. Cannot sign documents`);
      if (alwaysLater || request.useAsync) {
        await signLater(context, request, { body, generation });
        return said(LATER);
      }
      await signNow(context, request, { body, generation });
      return said("Documents correctly signed");
    };
  return {
    sign: signs(false),
    signAsync: signs(true),

    asyncStatus(call) {
      const request = requestOr(context, pathInteger(call.params, "request_pk"), "Request not found", true);
      // The only value that was ever published.
      if (request.status === "ENROLLREADY" || request.status === "ISSUED") return gave("approved");
      throw new Refusal(404, "Request not found", true);
    },
  } satisfies Handlers;
};
