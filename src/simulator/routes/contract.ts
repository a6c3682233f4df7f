import { readFileSync } from "node:fs";
import { pathInteger } from "../bodies.ts";
import { contractTailPath, guard, note, requestOr } from "../context.ts";
import type { Context } from "../context.ts";
import type { Handlers } from "../operations.ts";
import { contractOf } from "../signing/sign-request.ts";

/** The contract from approval on; after signing, the signed one. @source docs/provider.md §Contract */
export const contractHandlers = (context: Context) =>
  ({
    getContract(call, reply) {
      const pk = pathInteger(call.params, "request_pk");
      const request = requestOr(context, pk, `Request ${pk} not found`, true);
      guard(request, "contract");
      const contract = contractOf(request);
      const signed = request.contractTailBytes !== undefined;
      const bytes = signed ? Buffer.concat([contract, readFileSync(contractTailPath(context, pk))]) : contract;
      note(context, "contract", request, { bytes: bytes.length });
      return reply.header("content-type", "application/pdf").send(bytes);
    },
  }) satisfies Handlers;
