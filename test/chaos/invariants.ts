import type { Evidence, HandedIn, JournalEntry, LedgerEntry, RequestRecord, TreeFile } from "./evidence.ts";

/** One broken promise, as one line for people. */
export interface Violation {
  invariant: string;
  text: string;
}

/** The stages as the documentation tells them, written here a second time on purpose. */
const SIGNING = ["upload", "contract", "otp", "sign", "fetch", "cleanup"];
const ORDERS: Record<string, readonly string[]> = {
  videoid: ["create", "identify", "approve", ...SIGNING],
  "videoid-external": ["create", "evidences", "identify", "approve", ...SIGNING],
  classic: ["approve", "create", ...SIGNING],
};
const ENDS = ["done", "refused", "cancelled", "expired", "failed"];
const FOR_GOOD = ["done", "refused", "cancelled"];
/** Where each event may lead. "note" stays where it is. */
const LEADS_TO: Record<string, readonly string[]> = {
  start: ["running"],
  intend: ["running"],
  succeed: ["queued", ...ENDS],
  wait: ["waiting"],
  retry: ["retrying"],
  end: ["queued"],
  abandon: ["failed", "refused", "cancelled", "expired"],
  requeue: ["queued"],
  clean: ["queued"],
};
/** Effects of the ledger, by the call that must have been written down before. */
const INTENT_OF: Record<string, readonly string[]> = {
  create: ["create"],
  evidences: ["evidences"],
  video: ["video"],
  approve: ["approve"],
  refuse: ["refuse"],
  update: ["update"],
  upload: ["upload"],
  otp: ["otp"],
  sign: ["sign"],
  "delete-document": ["delete"],
  "delete-all": ["delete", "upload"],
};
const EVERY_CALL = ["create", "approve", "refuse", "update", "otp", "sign"];
/** What people begin anew with: by order while it waits, or after it had ended. */
const AGAIN = /^(retry|restart|restarted: .*)$/;

/** A classic request is approved by its creation: nobody calls for it. */
const isWithinCreation = ({ effect, reason }: LedgerEntry) => effect === "approve" && reason === "inside-create";

/** A request at the provider, with what is known of it here. */
interface Case {
  pk: number;
  entries: LedgerEntry[];
  record: RequestRecord | undefined;
  handedIn: HandedIn | undefined;
  /** False for one that its creation made and nobody heard of. */
  isBound: boolean;
}

type Check = (all: All) => Iterable<string>;
interface All extends Evidence {
  cases: Case[];
  /** Files by their SHA-256. */
  filesOf: (sha256: string | undefined) => readonly TreeFile[];
  linesOf: Map<string, JournalEntry[]>;
}

/** Every invariant that the evidence breaks. Pure. */
export function findViolations(evidence: Evidence): Violation[] {
  const linesOf = Map.groupBy(evidence.journal.lines, ({ request }) => request);
  for (const lines of linesOf.values()) lines.sort((a, b) => a.version - b.version || a.atMs - b.atMs);
  const byHash = Map.groupBy(evidence.files, ({ sha256 }) => sha256);
  const filesOf = (sha256 = "") => byHash.get(sha256) ?? [];
  const all: All = { ...evidence, linesOf, filesOf, cases: casesOf(evidence, linesOf) };
  return Object.entries(CHECKS).flatMap(([invariant, check]) =>
    [...check(all)].map((text) => ({ invariant, text: `${invariant}: ${text}` })),
  );
}

function casesOf(evidence: Evidence, linesOf: All["linesOf"]): Case[] {
  const byDocument = new Map<string, RequestRecord>();
  for (const record of evidence.records.values()) {
    for (const { sha256 } of documentsOf(record)) byDocument.set(sha256, record);
  }
  const byPk = new Map<number, RequestRecord>();
  for (const record of evidence.records.values()) {
    for (const pk of pksOf(record, linesOf.get(record.id) ?? [])) byPk.set(pk, record);
  }
  const byPhone = new Map(evidence.handedIn.map((one) => [one.phoneSha256, one]));
  const entries = Map.groupBy(
    evidence.ledger.filter(({ request_pk }) => request_pk !== undefined),
    ({ request_pk }) => request_pk ?? 0,
  );
  return [...entries].map(([pk, own]) => {
    const created = own.find(({ effect }) => effect === "create");
    const handedIn = byPhone.get(created?.phone_sha256 ?? "");
    const bound = byPk.get(pk);
    const record = bound ?? byDocument.get(handedIn?.documents[0]?.sha256 ?? "");
    return { pk, entries: own, record, handedIn, isBound: bound !== undefined };
  });
}

function documentsOf({ facts }: RequestRecord): { name: string; sha256: string }[] {
  return (facts["documents"] ?? []) as { name: string; sha256: string }[];
}

/** Every request_pk that a request ever had. */
function pksOf({ facts }: RequestRecord, lines: readonly JournalEntry[]): number[] {
  const all = [facts, ...lines.flatMap(({ patch, first }) => [patch?.facts ?? {}, first?.facts ?? {}])];
  return [...new Set(all.map((one) => one["requestPk"]).filter((pk) => typeof pk === "number"))];
}

const count = (entries: readonly LedgerEntry[], effect: string) =>
  entries.filter((entry) => entry.effect === effect).length;
const timeOf = ({ at }: LedgerEntry) => Date.parse(at);
const nameOf = ({ pk, record, handedIn }: Case) =>
  `request_pk ${pk} (${record?.id ?? "no record"}, ${handedIn?.name ?? "of nobody"})`;

/** Documents at the provider, entry by entry. `look` is told of each entry with what was there before it. */
function replay(entries: readonly LedgerEntry[], look: (entry: LedgerEntry, there: Map<string, string>) => void): void {
  const there = new Map<string, string>();
  for (const entry of entries) {
    look(entry, there);
    const { effect, document_uid: uid = "", sha256 = "" } = entry;
    if (effect === "upload") there.set(uid, sha256);
    if (effect === "delete-document") there.delete(uid);
    if (effect === "delete-all" || effect === "cancel") there.clear();
  }
}

const CHECKS: Record<string, Check> = {
  *I1({ handedIn, records, filesOf }) {
    const recordsBy = Map.groupBy(
      [...records.values()].flatMap((record) => documentsOf(record).map(({ sha256 }) => ({ sha256, record }))),
      ({ sha256 }) => sha256,
    );
    for (const { name, way, copies, usable, documents } of handedIn) {
      for (const { name: document, sha256 } of documents) {
        const own = (recordsBy.get(sha256) ?? []).map(({ record }) => record);
        const aside = filesOf(sha256).filter(({ path }) => /^(failed|duplicates|inbox)\//.test(path));
        // A request that ended otherwise has its files given back: these are not one more of them.
        const givenBack = own.filter(
          ({ phase, source }) => source === "inbox" && ENDS.includes(phase) && phase !== "done",
        );
        const found = own.length + Math.max(aside.length - givenBack.length, 0);
        if (found < copies) yield `${name}/${document} was handed in ${copies} times and is found ${found} times`;
        if (own.length > (usable ? (way === "api" ? copies : 1) : 0)) {
          yield `${name}/${document} has ${own.length} records (${own.map(({ id }) => id).join(", ")})`;
        }
        // Senders by API keep what they sent: of what was refused or cancelled, the copy here goes.
        const mustBe = own.filter(
          ({ source, phase }) => source === "inbox" || !["refused", "cancelled"].includes(phase),
        );
        if (mustBe.length > 0 && filesOf(sha256).every(({ path }) => path.startsWith("inbox/"))) {
          yield `${name}/${document} has a record, and its bytes are nowhere`;
        }
      }
    }
  },

  *I2({ cases, linesOf, records, dump }) {
    const suspects = new Set(
      [...dump].filter(([key]) => key.endsWith(":suspects")).flatMap(([, { value }]) => membersOf(value)),
    );
    for (const one of cases.filter(({ isBound }) => !isBound)) {
      const { entries, record } = one;
      const used = entries.filter(
        (entry) => ["approve", "upload", "otp", "sign"].includes(entry.effect) && !isWithinCreation(entry),
      );
      if (used.length > 0) yield `${nameOf(one)} is bound to no request and had ${used[0]?.effect}`;
      const isMarked = record && (suspects.has(record.id) || record.facts["suspectedOrphan"] !== undefined);
      const isOpen = record?.intent?.effect === "create";
      if (count(entries, "cancel") === 0 && !isMarked && !isOpen)
        yield `${nameOf(one)} was made, is not used, and nobody knows of it`;
    }
    for (const record of records.values()) {
      const lines = linesOf.get(record.id) ?? [];
      const begun = lines.filter(({ note = "", event }) => event === "requeue" && AGAIN.test(note)).length;
      // That it was begun anew may have died with its process; that somebody asked for it was on disk before.
      const asked = lines.filter(({ note = "", by }) => by !== undefined && AGAIN.test(note)).length;
      const again = Math.max(begun, asked);
      const pks = pksOf(record, lines);
      if (pks.length > 1 + again) yield `${record.id} was bound to ${pks.join(" and ")}`;
    }
    for (const one of cases.filter(({ isBound, record, pk }) => isBound && record?.facts["requestPk"] !== pk)) {
      const isOver = count(one.entries, "cancel") + count(one.entries, "refuse") > 0;
      if (!isOver) yield `${nameOf(one)} has another one in its place, and was not cancelled`;
      const used = one.entries.find(({ effect }) => effect === "sign");
      if (used) yield `${nameOf(one)} has another one in its place, and was signed`;
    }
    const owners = Map.groupBy(
      [...records.values()].filter(({ facts }) => facts["requestPk"] !== undefined),
      ({ facts }) => facts["requestPk"] as number,
    );
    for (const [pk, own] of owners) {
      if (own.length > 1) yield `request_pk ${pk} is bound to ${own.map(({ id }) => id).join(" and ")}`;
    }
  },

  *I3({ cases }) {
    const signedIn = new Map<string, number[]>();
    for (const one of cases) {
      const signs = count(one.entries, "sign");
      if (signs > 1) yield `${nameOf(one)} was signed ${signs} times`;
      replay(one.entries, ({ effect }, there) => {
        if (effect !== "sign") return;
        for (const sha256 of there.values()) signedIn.set(sha256, [...(signedIn.get(sha256) ?? []), one.pk]);
      });
    }
    for (const [sha256, pks] of signedIn) {
      if (pks.length > 1) yield `document ${sha256.slice(0, 12)} was signed ${pks.length} times, in ${pks.join(", ")}`;
    }
  },

  *I4({ cases, linesOf }) {
    for (const one of cases) {
      const lines = linesOf.get(one.record?.id ?? "") ?? [];
      const resends = lines.filter(({ note, by, atMs }) => note === "resend" && by !== undefined && atMs > 0).length;
      const retries = lines.filter(
        ({ note, event }) => event === "requeue" && (note === "retry" || note === "seal-broken"),
      );
      const sent = count(one.entries, "otp");
      const asked = 1 + resends + retries.length;
      if (sent > asked) yield `${nameOf(one)} was sent ${sent} codes, and ${asked} were asked for`;
    }
  },

  *I5({ cases }) {
    const texts: string[] = [];
    for (const one of cases) {
      // Those that were dropped apart are in one request or in several, each with its own.
      const documents = one.handedIn?.isApart && one.record ? documentsOf(one.record) : one.handedIn?.documents;
      const wanted = (documents ?? []).map(({ sha256 }) => sha256).sort();
      replay(one.entries, ({ effect }, there) => {
        if (effect !== "otp" && effect !== "sign") return;
        const found = [...there.values()].sort();
        if (found.join() === wanted.join()) return;
        texts.push(
          `${nameOf(one)} held ${found.length} documents at ${effect}, and ${wanted.length} were handed in: ${compare(found, wanted)}`,
        );
      });
    }
    yield* texts;
  },

  *I6({ cases, filesOf, linesOf }) {
    const texts: string[] = [];
    for (const one of cases) {
      let isSigned = false;
      const signed = signedHashes(one.entries);
      const fetched = (linesOf.get(one.record?.id ?? "") ?? []).filter(
        // By whoever fetched it, by whoever deletes, or by whoever found it in the record when that line was lost.
        ({ event, patch, first }) =>
          (["succeed", "intend"].includes(event) && patch?.facts?.["signed"]) || first?.facts?.["signed"],
      );
      replay(one.entries, (entry, there) => {
        const { effect, document_uid: uid = "" } = entry;
        if (effect === "sign") isSigned = true;
        if (!isSigned || !["delete-document", "delete-all", "cancel"].includes(effect)) return;
        if (effect !== "delete-document") {
          if (there.size > 0)
            texts.push(`${nameOf(one)}: ${effect} after the signing, with ${there.size} documents there`);
          return;
        }
        const file = filesOf(signed.get(uid)).find(({ path }) => path.startsWith(`signed/${one.record?.id}/`));
        if (!file) texts.push(`${nameOf(one)}: document ${uid} was deleted, and there is no signed file of it`);
        else if (file.bornMs > timeOf(entry) + 5)
          texts.push(`${nameOf(one)}: document ${uid} was deleted before ${file.path} was there`);
        else if (file.flaw) texts.push(`${nameOf(one)}: document ${uid} was deleted, and ${file.path} ${file.flaw}`);
        if (!fetched.some(({ atMs }) => atMs <= timeOf(entry))) {
          texts.push(`${nameOf(one)}: document ${uid} was deleted before the journal says that its file is safe`);
        }
      });
    }
    yield* texts;
  },

  *I7({ cases, files }) {
    const inOutput = new Map(files.filter(({ path }) => path.startsWith("signed/")).map((file) => [file.sha256, file]));
    for (const one of cases) {
      const there = new Map<string, string>();
      const signedUids = new Set<string>();
      replay(one.entries, ({ effect }, now) => {
        if (effect === "sign") for (const uid of now.keys()) signedUids.add(uid);
      });
      replay([...one.entries, { seq: 0, at: "", effect: "end" }], ({ effect }, now) => {
        if (effect === "end") for (const [uid, sha256] of now) there.set(uid, sha256);
      });
      const hashes = signedHashes(one.entries);
      for (const uid of signedUids) {
        const file = inOutput.get(hashes.get(uid) ?? "");
        if (file && !file.flaw) continue;
        if (!there.has(uid))
          yield `${nameOf(one)}: signed document ${uid} is neither in the output nor at the provider`;
      }
      const { phase = "" } = (one.isBound && one.record) || {};
      if (signedUids.size > 0 && ["refused", "cancelled", "expired"].includes(phase))
        yield `${nameOf(one)} was signed, and its request ended as ${phase}`;
    }
  },

  *I8({ linesOf, records }) {
    for (const [id, lines] of linesOf) {
      const restored = lines.filter(({ by }) => by === "recovery").map(({ version }) => version);
      for (const [i, line] of lines.entries()) {
        const earlier = lines[i - 1];
        if (earlier?.version === line.version && !restored.some((version) => version > line.version)) {
          yield `${id} has two changes with version ${line.version} (${earlier.event}, ${line.event})`;
        }
        const isNext = earlier && line.before === earlier.mark && line.by !== "recovery";
        const flaw = flawOfStep(isNext ? earlier : undefined, line, orderOf(lines));
        if (flaw) yield `${id} version ${line.version}: ${flaw}`;
      }
      const record = records.get(id);
      const newest = lines.at(-1)?.version ?? 0;
      if (record && record.version < newest)
        yield `${id} is at version ${record.version} in Redis and at ${newest} in the journal`;
      if (!record) yield `${id} is in the journal and not in Redis`;
    }
  },

  *I9({ records, dump, atMs }) {
    for (const { id, stage, phase, waiting, intent } of records.values()) {
      if (ENDS.includes(phase)) continue;
      if (phase !== "waiting") yield `${id} is at ${stage}, ${phase}: neither over nor waiting`;
      else if (!waiting) yield `${id} waits at ${stage} for nobody`;
      else if (waiting.untilMs <= atMs) yield `${id} waits at ${stage} for ${waiting.for}, whose time is over`;
      else if (waiting.whose === "provider" && intent) yield `${id} still waits at ${stage} for ${waiting.for}`;
    }
    const lists = [...dump].filter(([key]) => /:queue:[a-z]+:(wait|active|paused|delayed|prioritized)$/.test(key));
    const alive = new Set(lists.flatMap(([key, { value }]) => membersOf(value).map((id) => `${stageIn(key)} ${id}`)));
    for (const { id, stage, phase } of records.values()) {
      if (!ENDS.includes(phase) && !alive.has(`${stage} ${id}`)) yield `${id} is at ${stage}, ${phase}, without a job`;
    }
    for (const [key, { value }] of dump) {
      if (!/:queue:[a-z]+:failed$/.test(key)) continue;
      for (const id of membersOf(value)) {
        const record = records.get(id);
        const isExplained = record && (ENDS.includes(record.phase) || stageIn(key) !== record.stage);
        if (!isExplained) yield `the failed job of ${id} at ${stageIn(key)} is not explained by its record`;
      }
    }
    for (const [key, { value, type }] of dump) {
      if (!key.endsWith("}:due") || type !== "zset") continue;
      for (const [id, dueMs] of value) if (dueMs < atMs) yield `${id} is overdue and was given no next step`;
    }
  },

  *I10({ cases, linesOf }) {
    for (const one of cases) {
      const approved = one.entries.find(({ effect }) => effect === "approve");
      if (!approved || one.handedIn?.approval === "auto") continue;
      const lines = linesOf.get(one.record?.id ?? "") ?? [];
      const decisions = [one.record?.facts["decision"], ...lines.map(({ patch }) => patch?.facts?.["decision"])];
      const isDecided = decisions.some((decision) => {
        const { kind, by, atMs = Infinity } = (decision ?? {}) as { kind?: string; by?: string; atMs?: number };
        return kind === "approve" && by !== undefined && by !== "" && atMs <= timeOf(approved);
      });
      if (!isDecided) yield `${nameOf(one)} was approved, and nobody is on record as having decided so before`;
    }
  },

  *I11({ cases, journal, linesOf }) {
    yield* journal.flaws;
    for (const one of cases) {
      const intents = (linesOf.get(one.record?.id ?? "") ?? []).filter(({ event }) => event === "intend");
      const done = new Map<string, number>();
      for (const entry of one.entries) {
        const names = isWithinCreation(entry) ? INTENT_OF["create"] : INTENT_OF[entry.effect];
        if (!names || (entry.effect === "create" && !one.handedIn)) continue;
        const before = intents.filter(({ note, atMs }) => names.includes(note ?? "") && atMs <= timeOf(entry)).length;
        const times = (done.get(entry.effect) ?? 0) + 1;
        done.set(entry.effect, times);
        const least = EVERY_CALL.includes(entry.effect) ? times : 1;
        if (before < least) yield `${nameOf(one)}: ${entry.effect} no. ${times} had ${before} intents before it`;
      }
    }
  },

  *I12({ leaks }) {
    for (const { what, where } of leaks) yield `${what} stands in ${where}`;
  },

  *I13({ exits }) {
    for (const { name, code, signal, planned } of exits) {
      if (!planned) yield `${name} ended by itself (${signal ?? `exit code ${code}`})`;
    }
  },
};

function membersOf(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.map((one: unknown) => String(Array.isArray(one) ? one[0] : one));
}

const stageIn = (key: string) => /:queue:([a-z]+):/.exec(key)?.[1] ?? "";

/** SHA-256 of each signed document, by uid, as the provider sent it. */
function signedHashes(entries: readonly LedgerEntry[]): Map<string, string> {
  const sent = entries.filter(({ effect }) => effect === "download-signed");
  return new Map(sent.map(({ document_uid = "", sha256 = "" }) => [document_uid, sha256]));
}

function compare(found: string[], wanted: string[]): string {
  const twice = found.filter((sha256, i) => found.indexOf(sha256) !== i).length;
  const missing = wanted.filter((sha256) => !found.includes(sha256)).length;
  const strange = found.filter((sha256) => !wanted.includes(sha256)).length;
  return `${twice} twice, ${missing} missing, ${strange} strange`;
}

function orderOf(lines: readonly JournalEntry[]): readonly string[] {
  const workflow = lines.find(({ first }) => first?.workflow !== undefined)?.first?.workflow ?? "videoid";
  return ORDERS[workflow] ?? [];
}

function flawOfStep(from: JournalEntry | undefined, to: JournalEntry, order: readonly string[]): string | undefined {
  if (to.by === "recovery") return undefined;
  const leads = LEADS_TO[to.event];
  if (leads && !leads.includes(to.phase)) return `"${to.event}" led to ${to.phase}`;
  if (!leads && to.event !== "note") return `"${to.event}" is no event`;
  if (!from) return undefined;
  if (to.event === "clean") return flawOfCleaning(from, to);
  if (FOR_GOOD.includes(from.phase) && to.event !== "note") return `"${to.event}" after it was ${from.phase}`;
  if (ENDS.includes(from.phase) && !["requeue", "note"].includes(to.event))
    return `"${to.event}" after it was ${from.phase}`;
  const [at, next] = [order.indexOf(from.stage), order.indexOf(to.stage)];
  if (next < 0) return `"${to.stage}" is no stage`;
  const isRight =
    to.event === "requeue"
      ? next <= at || ENDS.includes(from.phase)
      : to.event === "end"
        ? to.stage === order.at(-1)
        : to.event === "succeed"
          ? next === Math.min(at + 1, order.length - 1)
          : next === at;
  return isRight ? undefined : `"${to.event}" led from ${from.stage} to ${to.stage}`;
}

/** What is over, but for what is done, may be cleaned up again where it stands; it ends as it had ended. */
function flawOfCleaning(from: JournalEntry, to: JournalEntry): string | undefined {
  const isOver = ENDS.includes(from.phase) && from.phase !== "done";
  if (!isOver) return `"clean" after it was ${from.phase}`;
  if (to.stage !== "cleanup") return `"clean" led to ${to.stage}`;
  if (to.by === undefined) return `"clean" was asked for by nobody`;
  return to.patch?.ending === from.phase ? undefined : `"clean" of what was ${from.phase} is to end otherwise`;
}
