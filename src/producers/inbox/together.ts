import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { isBundle } from "../../core/bundle.ts";
import { memberIds } from "../../core/group.ts";
import { contentOf, type RequestId, ResultFile, type SignRequest, StoredDocument } from "../../core/request.ts";
import { hashFile } from "../../files/content.ts";
import { syncFolder } from "../../files/durable.ts";
import type { Claim } from "./claim.ts";
import { fromText, toText, withCounter } from "./names.ts";
import { find, shareTo } from "./place.ts";
import type { Whole } from "./whole.ts";

const Signed = z.array(ResultFile).catch([]);
const WithOriginal = z.array(ResultFile.extend({ id: z.string() })).catch([]);
const EVIDENCE = "evidence.json";

/** The results of a request that is done, by their names in its folder. */
export function resultsOf({ facts }: SignRequest): ResultFile[] {
  return [...Signed.parse(facts["signed"]), ...Signed.parse([facts["contract"]])];
}

/** Those of a claim: of a request that others have joined, what became of its own documents, and the contract. */
export function resultsFor(claim: Pick<Claim, "id">, request: SignRequest): ResultFile[] {
  return isBundle(request) ? resultsOnly(request, (id) => id.startsWith(`${claim.id}/`)) : resultsOf(request);
}

/** What some of a request's documents have become, by their references, and the contract. */
export function resultsOnly(request: SignRequest, isWanted: (id: string) => boolean): ResultFile[] {
  const own = WithOriginal.parse(request.facts["signed"]).filter(({ id }) => isWanted(id));
  return [...own, ...Signed.parse([request.facts["contract"]])];
}

/** Which documents of a request are the same as these, by their references. Whether they are all that it has. */
export function sameIn(
  { facts }: SignRequest,
  documents: readonly StoredDocument[],
): { ids: ReadonlySet<string>; isAll: boolean } {
  const contents = new Set(documents.map(contentOf));
  const all = z.array(StoredDocument).catch([]).parse(facts["documents"]);
  const ids = new Set(all.filter((one) => contents.has(contentOf(one))).map(({ id }) => id));
  return { ids, isAll: ids.size === all.length };
}

/**
 * Brings the results of all requests of a claim together in the folder of its first one, where the person looks for them:
 * as second names of the same files, which stay where they are. Documents keep their names; the contract and the
 * evidence of the second request are "contract (2).pdf" and "evidence (2).json". Never overwrites; safe to repeat.
 * Where they are, from DATA_DIR. Throws what the disk says.
 */
export function createTogether({ signed }: { signed: string }) {
  return async function together(claim: Claim, { requests, earlier }: Whole): Promise<string[]> {
    const to = join(signed, claim.id);
    const names: string[] = [];
    const all = [...requests, ...earlier];
    const order = [...memberIds({ id: claim.id, of: claim.requests ?? 1 }), ...(claim.signedAs ?? [])];
    for (const request of all) {
      if (request.phase !== "done") continue;
      const files = resultsOf(request);
      if (request.id === claim.id) names.push(...files.map(({ name }) => name));
      else names.push(...(await share(request.id, to, { files, n: order.indexOf(request.id) + 1 })));
    }
    if (names.length > 0) await syncFolder(to);
    return names.map((name) => `signed/${claim.id}/${name}`);
  };

  /** Names of the results in `to`. */
  async function share(
    from: RequestId,
    to: string,
    { files, n }: { files: readonly ResultFile[]; n: number },
  ): Promise<string[]> {
    await mkdir(to, { recursive: true, mode: 0o700 });
    const names: string[] = [];
    for (const file of files) {
      const isContract = file.name === "contract.pdf";
      const name = isContract ? toText(withCounter(file.name, n)) : file.name;
      names.push(await shareOne(join(signed, from, file.name), to, { ...file, name }));
    }
    const target = join(to, withCounter(EVIDENCE, n));
    await shareTo(join(signed, from, EVIDENCE), target);
    return names;
  }

  async function shareOne(from: string, to: string, { name, sha256 }: ResultFile): Promise<string> {
    for (let n = 1; ; n++) {
      const free = toText(withCounter(fromText(name), n));
      const target = join(to, free);
      // A copy of an earlier try, where files cannot have two names.
      if ((await shareTo(from, target)) !== "taken" || (await isOne(target, sha256))) return free;
    }
  }
}

async function isOne(path: string, sha256: string): Promise<boolean> {
  return (await find(path))?.isFile() === true && (await hashFile(path)).sha256 === sha256;
}
