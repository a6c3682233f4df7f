import { z } from "zod";
import { HistoryLine } from "../core/history.ts";
import { GroupPlace } from "../core/group.ts";
import { type Enclosure, ENCLOSURES } from "../core/identity.ts";
import { Digest, RequestId, Sha256, type SignRequest } from "../core/request.ts";
import { Signer } from "../core/signing.ts";
import type { Tools } from "./stage.ts";

const Time = z.iso.datetime();
const Hash = { sha256: Sha256, size_bytes: z.number().int().positive() };

/** What happened to a request, for whoever has to show it later. Kept next to the signed files. */
export const Evidence = z.strictObject({
  format: z.literal("signpipe-evidence/1"),
  id: RequestId,
  workflow: z.string(),
  reference: z.string().optional(),
  tenant: z.string().optional(),
  /** Where it stands among the requests that were handed in together. */
  group: GroupPlace.optional(),
  written_at: Time,
  provider: z.strictObject({ request_pk: z.unknown(), videoid_pk: z.unknown().optional() }),
  signer: Signer.optional(),
  authentication: z.unknown(),
  /** What came back is a signature apart from each document. Left out for signed PDFs. */
  signature_format: z.literal("cms").optional(),
  approval: z.strictObject({ by: z.unknown(), at: Time }).optional(),
  identified_at: Time.optional(),
  signed_at: Time.optional(),
  deleted_at_provider_at: Time.optional(),
  documents: z.array(
    z.strictObject({
      name: z.string(),
      ...Hash,
      /** What the document, which is a hash file, gave to be signed. */
      digest: Digest.optional(),
      document_uid: z.string().optional(),
      signed: z.strictObject({ name: z.string(), ...Hash, recognised_by: z.string().optional() }).optional(),
    }),
  ),
  /** What showed who the signer is. The files themselves are erased with the end of the request. */
  enclosures: z.array(z.strictObject({ name: z.enum(ENCLOSURES), content_type: z.string(), ...Hash })).optional(),
  contract: z.strictObject({ name: z.string(), sha256: Sha256 }).optional(),
  /** The change in the journal that this was written after. */
  journal: z.strictObject({ mark: z.string() }).optional(),
  history: z.array(z.strictObject({ ...HistoryLine.omit({ atMs: true }).shape, at: Time })),
});
export type Evidence = z.infer<typeof Evidence>;

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
    documents: { id: string; name: string; sha256: string; sizeBytes: number; digest?: Digest }[];
    uploaded?: { id: string; uid: string }[];
    signed?: { id: string; uid: string; name: string; sha256: string; sizeBytes: number; recognisedBy?: string }[];
    contract?: { name: string; sha256: string };
    group?: GroupPlace;
    enclosures?: Enclosure[];
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
    ...(typeof facts["tenant"] === "string" && { tenant: facts["tenant"] }),
    ...(facts.group && { group: facts.group }),
    written_at: new Date(request.updatedMs).toISOString(),
    provider: { request_pk: facts["requestPk"], videoid_pk: facts["videoidPk"] },
    ...(signer && { signer }),
    authentication: facts["authentication"],
    ...(facts["format"] === "cms" && { signature_format: "cms" as const }),
    ...(approvedAt && { approval: { by: facts["approvedBy"], at: approvedAt } }),
    ...Object.fromEntries(Object.entries(times).filter(([, value]) => value !== undefined)),
    documents: facts.documents.map((document) => {
      const signed = facts.signed?.find(({ id }) => id === document.id);
      const uid = signed?.uid ?? facts.uploaded?.find(({ id }) => id === document.id)?.uid;
      return {
        name: document.name,
        sha256: document.sha256,
        size_bytes: document.sizeBytes,
        ...(document.digest && { digest: document.digest }),
        ...(uid && { document_uid: uid }),
        ...(signed && {
          signed: {
            name: signed.name,
            sha256: signed.sha256,
            size_bytes: signed.sizeBytes,
            ...(signed.recognisedBy && { recognised_by: signed.recognisedBy }),
          },
        }),
      };
    }),
    ...(facts.enclosures && {
      enclosures: facts.enclosures.map(({ name, contentType, sizeBytes, sha256 }) => ({
        name,
        content_type: contentType,
        sha256,
        size_bytes: sizeBytes,
      })),
    }),
    ...(facts.contract && { contract: { name: facts.contract.name, sha256: facts.contract.sha256 } }),
    ...(request.mark && { journal: { mark: request.mark } }),
    history: history.map(({ atMs, ...line }) => ({ at: new Date(atMs).toISOString(), ...line })),
  };
}
