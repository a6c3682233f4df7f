import type { FastifyInstance } from "fastify";
import { objectBody, pathInteger, textOf } from "../bodies.ts";
import type { Body } from "../bodies.ts";
import { appearanceFrom } from "../signing/appearance-body.ts";
import { requestOr } from "../context.ts";
import type { Context } from "../context.ts";
import { Refusal, success } from "../envelopes.ts";
import { signAll } from "../signing/sign-request.ts";
import type { Request } from "../store.ts";
import { acceptsCode } from "./otp.ts";

type Unlock = { secret: string } | { type: string; value: string };

/**
 * `secret` alone, the external pair alone, or all three; with the pair it is the customer who vouches. @source
 * docs/provider.md §Sign
 */
function unlockFrom(body: Body): Unlock {
  const [secret, type, value] = [
    textOf(body, "secret"),
    textOf(body, "ext_unlock_type"),
    textOf(body, "ext_unlock_value"),
  ];
  if (type !== undefined && value !== undefined) return { type, value };
  if (secret === undefined) throw new Refusal(400, "Missing required parameter: 'secret'");
  return { secret };
}

function unlocks(context: Context, request: Request, unlock: Unlock): boolean {
  if ("secret" in unlock) return acceptsCode(context, request, unlock.secret);
  return context.credentials.extUnlockTypes?.includes(unlock.type) ?? true;
}

async function sign(context: Context, request: Request, body: Body): Promise<void> {
  const unlock = unlockFrom(body);
  if (request.status !== "ENROLLREADY") {
    const issued = request.status === "ISSUED";
    context.ledger.add("sign-rejected", { request_pk: request.pk, status: request.status, reason: "wrong-state" });
    throw new Refusal(412, issued ? "Request already in ISSUED status" : "Invalid request status");
  }
  if (request.documents.size === 0) throw new Refusal(404, "No documents found for specified Request");
  const appearance = await appearanceFrom(context, body, [...request.documents.keys()]);
  if (!unlocks(context, request, unlock)) {
    context.ledger.add("sign-rejected", { request_pk: request.pk, status: request.status, reason: "wrong-code" });
    throw new Refusal(403, "Confirmation Code invalid");
  }
  await signAll(context, request, appearance);
}

export function signRoutes(app: FastifyInstance, context: Context): void {
  app.post("/sign/:request_pk", { config: { operation: "sign" } }, async (call, reply) => {
    const body = objectBody(call.body);
    const pk = pathInteger(call.params, "request_pk");
    const request = requestOr(context, pk, `Request ${pk} not found. Cannot sign documents`);
    // Two calls at once must not both issue a certificate: the later one waits and then finds ISSUED.
    while (request.signing) await request.signing.catch(() => undefined);
    request.signing = sign(context, request, body);
    try {
      await request.signing;
    } finally {
      delete request.signing;
    }
    return reply.send(success("Documents correctly signed"));
  });
}
