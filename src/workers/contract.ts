import { z } from "zod";
import { exponential } from "../core/backoff.ts";
import { ResultFile } from "../core/request.ts";
import { RequestPk } from "../core/signing.ts";
import { probe } from "../files/probe.ts";
import { waitForFile } from "./late-file.ts";
import { rethrowSpoilt } from "./spoilt.ts";
import { defineStage } from "./stage.ts";

const NOT_WHOLE = "What the provider sent as the service contract is not a whole PDF";

/**
 * Fetches the service contract, which the signer must see before the code is sent, and keeps it with the results.
 * Safe to repeat; what arrives cut or spoilt is fetched again.
 * @source docs/provider.md §Contract
 */
export const contract = defineStage({
  name: "contract",
  title: "Fetch the service contract",
  needs: z.object({ requestPk: RequestPk, contractOf: RequestPk.optional() }),
  gives: z.object({
    contract: ResultFile,
    /** The request at the provider that the contract was fetched for last. */
    contractOf: RequestPk,
  }),

  attempts: 200,
  backoff: exponential("2s", { upTo: "10m" }),
  timeout: "5m",
  concurrency: 50,
  retryFrom: "upload",
  afterSilence: "repeat",

  async run({ requestId, facts, provider, results, attempt, signal }) {
    const name = "contract.pdf";
    const { requestPk: contractOf } = facts;
    // After a retry with a new identification the one that is here is of the old one, which was never signed.
    if (facts.contractOf !== undefined && facts.contractOf !== contractOf) await results.setAside(requestId, name);
    const kept = await results.existing(requestId, name, probe);
    if (kept) return { contract: kept, contractOf };
    try {
      const { body } = await provider.contract(facts.requestPk, { signal });
      const stored = await results
        .store(requestId, name, body, probe)
        .catch((error: unknown) => rethrowSpoilt(error, attempt, NOT_WHOLE));
      return { contract: stored, contractOf };
    } catch (error) {
      return await waitForFile("contract", error, { provider, requestPk: facts.requestPk, signal });
    }
  },
});
