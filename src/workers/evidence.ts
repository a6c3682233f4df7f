import { z } from "zod";
import type { HistoryLine } from "../core/history.ts";
import type { RequestId, SignRequest } from "../core/request.ts";
import type { Signer } from "../core/signing.ts";
import type { Tools } from "./stage.ts";

/** What happened to a request, for whoever has to show it later. Kept next to the signed files. */
export interface Evidence {
  format: "signpipe-evidence/1";
  id: RequestId;
  workflow: string;
  reference?: string;
  written_at: string;
  provider: { request_pk?: unknown; videoid_pk?: unknown };
  signer?: Signer;
  authentication: unknown;
  approval?: { by: unknown; at: string };
  identified_at?: string;
  signed_at?: string;
  deleted_at_provider_at?: string;
  documents: {
    name: string;
    sha256: string;
    size_bytes: number;
    document_uid?: string;
    signed?: { name: string; sha256: string; size_bytes: number };
  }[];
  contract?: { name: string; sha256: string };
  history: (Omit<HistoryLine, "atMs"> & { at: string })[];
}

const Named = z.object({
  documents: z.array(z.object({ signed: z.object({ name: z.string(), sha256: z.string() }).optional() })),
});

type Parts = Pick<Tools, "results" | "vault" | "historyOf"> & { requestId: RequestId; request: SignRequest };

/** Writes evidence.json anew, with what the running stage has just found out. */
export async function writeEvidence(run: Parts, given: Record<string, unknown>): Promise<void> {
  const { requestId, request, historyOf, results, vault } = run;
  const [history, person] = await Promise.all([historyOf(request), vault.read(requestId)]);
  const facts = { ...request.facts, ...given };
  // A repeated cleanup finds the vault erased: who signed is then only in the evidence that is there already.
  const signer = person?.signer ?? ((await results.readEvidence(requestId)) as Evidence | undefined)?.signer;
  await results.writeEvidence(requestId, toEvidence({ ...request, facts }, history, signer));
}

/** Whether what was read is evidence that names each of these signed files. */
export function isEvidenceOf(read: unknown, signed: readonly { name: string; sha256: string }[]): boolean {
  const evidence = Named.safeParse(read);
  const named = new Set(evidence.data?.documents.map((one) => `${one.signed?.name}/${one.signed?.sha256}`));
  return signed.every(({ name, sha256 }) => named.has(`${name}/${sha256}`));
}

/** The evidence as it is known so far. Pure. */
export function toEvidence(request: SignRequest, history: HistoryLine[], signer: Signer | undefined): Evidence {
  const facts = request.facts as {
    documents: { id: string; name: string; sha256: string; sizeBytes: number }[];
    uploaded?: { id: string; uid: string }[];
    signed?: { uid: string; name: string; sha256: string; sizeBytes: number }[];
    contract?: { name: string; sha256: string };
    [name: string]: unknown;
  };
  const at = (value: unknown) => (typeof value === "number" ? new Date(value).toISOString() : undefined);
  const times = {
    identified_at: at(facts["identifiedMs"]),
    signed_at: at(facts["signedMs"]),
    deleted_at_provider_at: at(facts["removedMs"]),
  };
  const approvedAt = at(facts["approvedMs"]);
  return {
    format: "signpipe-evidence/1",
    id: request.id,
    workflow: request.workflow,
    ...(request.reference && { reference: request.reference }),
    written_at: new Date(request.updatedMs).toISOString(),
    provider: { request_pk: facts["requestPk"], videoid_pk: facts["videoidPk"] },
    ...(signer && { signer }),
    authentication: facts["authentication"],
    ...(approvedAt && { approval: { by: facts["approvedBy"], at: approvedAt } }),
    ...Object.fromEntries(Object.entries(times).filter(([, value]) => value !== undefined)),
    documents: facts.documents.map((document) => {
      const uid = facts.uploaded?.find(({ id }) => id === document.id)?.uid;
      const signed = facts.signed?.find((one) => one.uid === uid);
      return {
        name: document.name,
        sha256: document.sha256,
        size_bytes: document.sizeBytes,
        ...(uid && { document_uid: uid }),
        ...(signed && { signed: { name: signed.name, sha256: signed.sha256, size_bytes: signed.sizeBytes } }),
      };
    }),
    ...(facts.contract && { contract: { name: facts.contract.name, sha256: facts.contract.sha256 } }),
    history: history.map(({ atMs, ...line }) => ({ at: new Date(atMs).toISOString(), ...line })),
  };
}
