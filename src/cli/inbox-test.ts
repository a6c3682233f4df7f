import { setTimeout as pause } from "node:timers/promises";
import type { Settings } from "../config.ts";
import { PermanentError } from "../core/errors.ts";
import type { SignRequest } from "../core/request.ts";
import { hashFile } from "../files/content.ts";
import { checkSignable } from "../files/signable.ts";
import { findMasterKey } from "../keys.ts";
import { type Explained, explain, type Offer, type Where } from "../producers/inbox/explain.ts";
import { lookAt, lookAtFolder } from "../producers/inbox/look.ts";
import { isPdfName, isSidecarName, type RawName, toPath } from "../producers/inbox/names.ts";
import { createSeen, printsOf } from "../queues/seen.ts";
import { whyUnreached } from "./doctor-redis.ts";
import { openStores } from "./stores.ts";
import { isHere, readRunFile } from "./target.ts";

/** What would become of a file, the rule that decides, and everything that was asked. */
export interface Tested {
  verdict: Explained["verdict"] | "duplicate";
  decided_by: string;
  rulings: Explained["rulings"];
}

/**
 * The same as `explain` says, and besides whether the file still changes, which takes as long as it would have to settle,
 * whether it can be signed, and whether the documents were handed in before, which the records say. Changes nothing.
 */
export async function testFile(settings: Settings, raw: RawName, where: Where): Promise<Tested> {
  const { verdict, rulings, offer } = explain(raw, where);
  const tell = (rule: string, says: string) => void rulings.push({ rule, says });
  const end = (what: Tested["verdict"]): Tested => ({
    verdict: what,
    decided_by: rulings.at(-1)?.rule ?? "",
    rulings,
  });
  if (verdict !== "taken") return end(verdict);
  const unfit = offer && (await whyUnfit(settings, offer));
  if (unfit !== undefined) {
    tell("document", unfit);
    return end("fails");
  }
  const settled = await twoLooks(raw, where);
  tell("settled", settled.says);
  if (!settled.isSettled) return end("waits");
  if (!offer) return end("taken");
  const { says, isInTheWay } = await lookForEarlier(settings, offer);
  tell("duplicate", says);
  if (!isInTheWay) return end("taken");
  const { duplicates = "set-aside" } = where.config;
  if (duplicates === "accept") {
    tell("duplicates", "accept: it is signed again all the same");
    return end("taken");
  }
  tell("duplicates", duplicates === "link" ? "link: it is set aside, and told what was signed" : "set-aside");
  return end("duplicate");
}

async function whyUnfit(settings: Settings, { documents, format }: Offer): Promise<string | undefined> {
  for (const { path, name } of documents) {
    try {
      await checkSignable(textOf(path), { name, format, maxBytes: settings.MAX_DOCUMENT_BYTES });
    } catch (error) {
      if (error instanceof PermanentError) return `${name}: ${error.message} (${error.code})`;
      throw error;
    }
  }
  return undefined;
}

async function twoLooks(raw: RawName, { inbox, config }: Where): Promise<{ isSettled: boolean; says: string }> {
  const path = toPath(inbox, raw);
  const key = () => {
    const folder = lookAtFolder(path);
    return folder ? folder.key : lookAt(path)?.key;
  };
  const folder = lookAtFolder(path);
  const { settleMs = 5_000, folderSettleMs = 30_000 } = config;
  // Nothing tells where files of other kinds end, so they are given the time of a folder.
  const isLong = folder ? !folder.isReady : !isPdfName(raw) && !isSidecarName(raw);
  const quietMs = isLong ? folderSettleMs : settleMs;
  const before = key();
  await pause(quietMs);
  const isSettled = before !== undefined && key() === before;
  const seconds = `${quietMs / 1_000} s`;
  return {
    isSettled,
    says: isSettled ? `it did not change for ${seconds}` : `it changed within ${seconds}: it is waited for`,
  };
}

/** The request that stands in the way of these documents, if the records say of one. */
async function lookForEarlier(
  settings: Settings,
  { manifest, documents, format }: Offer,
): Promise<{ isInTheWay: boolean; says: string }> {
  const run = readRunFile(settings.DATA_DIR);
  const redisUrl = settings.REDIS_URL ?? (run && isHere(run) ? run.redis_url : undefined);
  const unknown = (why: string) => ({ isInTheWay: false, says: `not known: ${why}` });
  if (redisUrl === undefined) return unknown("no signpipe runs here, and REDIS_URL is not set");
  const masterKey = findMasterKey(settings);
  if (!masterKey) return unknown("there is no master key here, without which documents are not recognised");
  const unreached = await whyUnreached(redisUrl);
  if (unreached !== undefined) return unknown(`Redis does not answer (${unreached})`);
  const stores = openStores({ settings, redisUrl, masterKey });
  try {
    const stored = await Promise.all(
      documents.map(async ({ path, name }) => {
        const maxBytes = settings.MAX_DOCUMENT_BYTES;
        const { digest } = await checkSignable(textOf(path), { name, format, maxBytes });
        return { id: "", name, ...(await hashFile(textOf(path))), ...(digest && { digest }) };
      }),
    );
    const prints = printsOf(masterKey, { ...manifest, signature: { format }, documents: stored });
    const owners = await createSeen(stores).ownersOf(prints);
    const found = owners.find((one): one is SignRequest => one !== undefined);
    if (!found) return { isInTheWay: false, says: "it is new: no request stands in its way" };
    return { isInTheWay: true, says: `it was handed in before: request ${found.id} is ${found.phase}` };
  } finally {
    await stores.close();
  }
}

/** Names that are no text cannot be asked for on a command line either. */
function textOf(path: string | Buffer): string {
  return path.toString();
}
