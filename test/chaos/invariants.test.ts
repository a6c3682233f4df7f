import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type Evidence, flawOf, type JournalEntry, type LedgerEntry, readJournal, searchFor } from "./evidence.ts";
import { findViolations } from "./invariants.ts";

const T0 = Date.UTC(2026, 0, 15, 8);
const ID = "req-00000000000000000000000001";
const DUE = "{chaos}:due";

/** A run of one request that went as it should; each test breaks one thing in it. */
function good(): Evidence {
  let seq = 0;
  const entry = (second: number, effect: string, more: Partial<LedgerEntry> = {}): LedgerEntry => ({
    seq: ++seq,
    at: new Date(T0 + second * 1_000).toISOString(),
    effect,
    request_pk: 7,
    ...more,
  });
  let version = 0;
  const line = (
    second: number,
    event: string,
    stage: string,
    phase: string,
    more: Partial<JournalEntry> = {},
  ): JournalEntry => ({
    atMs: T0 + second * 1_000 - 500,
    request: ID,
    version: ++version,
    mark: `m${version}`,
    ...(version > 1 && { before: `m${version - 1}` }),
    event,
    stage,
    phase,
    ...more,
  });
  const intend = (second: number, stage: string, note = stage) => line(second, "intend", stage, "running", { note });
  const decision = { kind: "approve", by: "api:rao", atMs: T0 + 2_000 };
  return {
    handedIn: [
      {
        name: "case-1",
        way: "inbox",
        copies: 1,
        usable: true,
        documents: [{ name: "a.pdf", sha256: "aa" }],
        phoneSha256: "phone",
        approval: "manual",
      },
    ],
    ledger: [
      entry(1, "create", { phone_sha256: "phone" }),
      entry(3, "approve"),
      entry(4, "upload", { document_uid: "u1", sha256: "aa" }),
      entry(5, "otp"),
      entry(6, "sign"),
      entry(7, "download-signed", { document_uid: "u1", sha256: "signed-aa" }),
      entry(9, "delete-document", { document_uid: "u1" }),
    ],
    journal: {
      flaws: [],
      lines: [
        line(0, "note", "create", "queued", { first: {} }),
        intend(1, "create"),
        line(1.6, "succeed", "identify", "queued", { patch: { facts: { requestPk: 7 } } }),
        line(2, "succeed", "approve", "queued"),
        line(2.2, "wait", "approve", "waiting"),
        line(2.5, "note", "approve", "waiting", { by: "api:rao", note: "approved", patch: { facts: { decision } } }),
        intend(3, "approve"),
        line(3.6, "succeed", "upload", "queued"),
        intend(4, "upload"),
        line(4.6, "succeed", "contract", "queued"),
        line(4.8, "succeed", "otp", "queued"),
        intend(5, "otp"),
        line(5.6, "succeed", "sign", "queued"),
        intend(6, "sign"),
        line(6.6, "succeed", "fetch", "queued"),
        line(8, "succeed", "cleanup", "queued", { patch: { facts: { signed: [{ uid: "u1" }] } } }),
        intend(9, "cleanup", "delete"),
        line(9.6, "succeed", "cleanup", "done"),
      ],
    },
    dump: new Map([[DUE, { type: "zset", value: [] }]]),
    records: new Map([
      [
        ID,
        {
          id: ID,
          version: 18,
          stage: "cleanup",
          phase: "done",
          source: "inbox",
          facts: { documents: [{ name: "a.pdf", sha256: "aa" }], requestPk: 7, decision },
        },
      ],
    ]),
    files: [
      { path: `archive/${ID}/a.pdf`, sha256: "aa", bornMs: T0 },
      { path: `signed/${ID}/a.pdf.signed.pdf`, sha256: "signed-aa", bornMs: T0 + 7_000 },
    ],
    exits: [{ name: "worker-1", code: null, signal: "SIGKILL", planned: true }],
    leaks: [],
    atMs: T0 + 60_000,
  };
}

const record = (evidence: Evidence) =>
  evidence.records.get(ID) as Exclude<ReturnType<Evidence["records"]["get"]>, undefined>;
const again = (evidence: Evidence, effect: string, change: Partial<LedgerEntry> = {}) => {
  const i = evidence.ledger.findIndex((entry) => entry.effect === effect);
  evidence.ledger.splice(i + 1, 0, { ...(evidence.ledger[i] as LedgerEntry), ...change });
};
const without = <T>(list: T[], isIt: (one: T) => boolean) => void list.splice(list.findIndex(isIt), 1);
const orphan = (evidence: Evidence, ...effects: string[]) => {
  const at = new Date(T0 + 1_200).toISOString();
  for (const effect of ["create", ...effects]) {
    evidence.ledger.push({
      seq: 90,
      at,
      effect,
      request_pk: 8,
      ...(effect === "create" && { phone_sha256: "phone" }),
      ...(effect === "upload" && { document_uid: "u9", sha256: "aa" }),
    });
  }
};
const open = (evidence: Evidence, phase: string, more: object = {}) =>
  Object.assign(record(evidence), { stage: "sign", phase, ...more });
const job = (evidence: Evidence, list: string) =>
  evidence.dump.set(`{chaos}:queue:sign:${list}`, { type: "list", value: [ID] });
const WAITING = { waiting: { for: "code", whose: "signer", untilMs: T0 + 90_000 } };

test("a run in which all went well breaks nothing", () => {
  expect(findViolations(good())).toEqual([]);
});

test("a request that waits for somebody breaks nothing", () => {
  const evidence = good();
  open(evidence, "waiting", WAITING);
  job(evidence, "delayed");
  expect(findViolations(evidence)).toEqual([]);
});

/** The request that went well was refused instead, and is cleaned up again. */
function cleanedAgain(change: Partial<JournalEntry> = {}): Evidence {
  const evidence = good();
  const { lines } = evidence.journal;
  const last = lines.at(-1) as JournalEntry;
  last.phase = record(evidence).phase = "refused";
  without(evidence.ledger, ({ effect }) => effect === "sign");
  const clean = { event: "clean", phase: "queued", by: "api:anna", patch: { ending: "refused" }, ...change };
  lines.push({ ...last, version: 19, before: "m18", mark: "m19", ...clean });
  lines.push({ ...last, version: 20, before: "m19", mark: "m20" });
  record(evidence).version = 20;
  return evidence;
}

test("a request that is over and is cleaned up again breaks nothing", () => {
  expect(findViolations(cleanedAgain())).toEqual([]);
});

test.each([
  ["ends otherwise", { patch: { ending: "failed" } }, /is to end otherwise/],
  ["is asked for by nobody", { by: undefined }, /by nobody/],
  ["leads elsewhere", { stage: "upload" }, /led to upload/],
] as const)("a cleaning that %s is told of", (_what, change, text) => {
  const found = findViolations(cleanedAgain(change as Partial<JournalEntry>)).filter(
    ({ invariant }) => invariant === "I8",
  );
  expect(found.map((violation) => violation.text).join()).toMatch(text);
});

test("an orphan that was cancelled, or is known as one, breaks nothing", () => {
  const cancelled = good();
  orphan(cancelled, "cancel");
  const known = good();
  orphan(known);
  known.dump.set("{chaos}:suspects", { type: "zset", value: [[ID, T0]] });
  for (const evidence of [cancelled, known]) {
    evidence.journal.lines.splice(2, 0, { ...(evidence.journal.lines[1] as JournalEntry), version: 2, atMs: T0 + 600 });
    expect(findViolations(evidence).filter(({ invariant }) => invariant !== "I8")).toEqual([]);
  }
});

const BROKEN: [invariant: string, what: string, spoil: (evidence: Evidence) => void, text: RegExp][] = [
  [
    "I1",
    "a file that is found nowhere",
    (e) => {
      e.records.clear();
    },
    /handed in 1 times and is found 0 times/,
  ],
  [
    "I1",
    "a file with two records",
    (e) => {
      e.records.set("req-2", { ...record(e), id: "req-2", facts: { documents: [{ name: "a.pdf", sha256: "aa" }] } });
    },
    /has 2 records/,
  ],
  [
    "I1",
    "a duplicate that was not set aside",
    (e) => {
      (e.handedIn[0] as { copies: number }).copies = 2;
    },
    /handed in 2 times and is found 1 times/,
  ],
  [
    "I1",
    "an unusable file that became a request",
    (e) => {
      (e.handedIn[0] as { usable: boolean }).usable = false;
    },
    /has 1 records/,
  ],
  ["I1", "bytes that are gone", (e) => without(e.files, ({ sha256 }) => sha256 === "aa"), /its bytes are nowhere/],
  ["I2", "a request at the provider that nobody knows of", (e) => orphan(e), /request_pk 8 .* nobody knows of it/],
  ["I2", "an orphan that was approved", (e) => orphan(e, "approve", "cancel"), /bound to no request and had approve/],
  [
    "I2",
    "two request_pks for one request",
    (e) => {
      record(e).facts["requestPk"] = 9;
    },
    /bound to 9 and 7/,
  ],
  [
    "I2",
    "a request at the provider that was replaced and lives on",
    (e) => {
      orphan(e);
      (e.journal.lines[3] as JournalEntry).patch = { facts: { requestPk: 8 } };
    },
    /request_pk 8 .* has another one in its place, and was not cancelled/,
  ],
  ["I3", "a request that was signed twice", (e) => again(e, "sign"), /request_pk 7 .* was signed 2 times/],
  ["I3", "a document that was signed in two requests", (e) => orphan(e, "upload", "sign"), /was signed/],
  ["I4", "a code that nobody asked for", (e) => again(e, "otp"), /sent 2 codes, and 1 were asked for/],
  [
    "I5",
    "a document that was there twice",
    (e) => again(e, "upload", { document_uid: "u2" }),
    /held 2 documents at otp, and 1 were handed in: 1 twice/,
  ],
  [
    "I5",
    "a document that was not there",
    (e) => without(e.ledger, ({ effect }) => effect === "upload"),
    /held 0 documents at otp.*1 missing/,
  ],
  [
    "I5",
    "another document",
    (e) => {
      again(e, "upload", { sha256: "bb" });
      without(e.ledger, ({ sha256 }) => sha256 === "aa");
    },
    /1 strange/,
  ],
  [
    "I6",
    "a deletion without a file",
    (e) => without(e.files, ({ path }) => path.startsWith("signed/")),
    /there is no signed file of it/,
  ],
  [
    "I6",
    "a deletion before the file",
    (e) => {
      (e.files[1] as { bornMs: number }).bornMs = T0 + 20_000;
    },
    /was deleted before .* was there/,
  ],
  [
    "I6",
    "a deletion although the file is spoilt",
    (e) => {
      (e.files[1] as { flaw?: string }).flaw = "has no signature";
    },
    /has no signature/,
  ],
  [
    "I6",
    "a deletion before the journal knew of the file",
    (e) => without(e.journal.lines, ({ patch }) => patch?.facts?.["signed"] !== undefined),
    /before the journal says/,
  ],
  [
    "I6",
    "a deletion of everything after the signing",
    (e) => e.ledger.splice(6, 0, { ...(e.ledger[6] as LedgerEntry), effect: "delete-all" }),
    /delete-all after the signing/,
  ],
  [
    "I7",
    "a request that was signed and ended as cancelled",
    (e) => {
      record(e).phase = (e.journal.lines.at(-1) as JournalEntry).phase = "cancelled";
    },
    /was signed, and its request ended as cancelled/,
  ],
  [
    "I8",
    "a cleaning of what is done",
    (e) => {
      const clean = { event: "clean", phase: "queued", by: "api:anna", version: 19, before: "m18", mark: "m19" };
      e.journal.lines.push({ ...(e.journal.lines.at(-1) as JournalEntry), ...clean });
      record(e).version = 19;
    },
    /"clean" after it was done/,
  ],
  [
    "I7",
    "a signed document that is lost",
    (e) => without(e.files, ({ path }) => path.startsWith("signed/")),
    /neither in the output nor at the provider/,
  ],
  [
    "I8",
    "two changes with one version",
    (e) => {
      (e.journal.lines[4] as JournalEntry).version = 4;
    },
    /two changes with version 4/,
  ],
  [
    "I8",
    "a step that is not possible",
    (e) => {
      Object.assign(e.journal.lines[3] as JournalEntry, { stage: "sign" });
    },
    /led from identify to sign/,
  ],
  [
    "I8",
    "an event that leads elsewhere",
    (e) => {
      (e.journal.lines[1] as JournalEntry).phase = "done";
    },
    /"intend" led to done/,
  ],
  [
    "I8",
    "a change after the end",
    (e) => {
      e.journal.lines.push({ ...(e.journal.lines[1] as JournalEntry), version: 19, before: "m18", mark: "m19" });
      record(e).version = 19;
    },
    /"intend" after it was done/,
  ],
  [
    "I8",
    "a record that Redis has lost changes of",
    (e) => {
      record(e).version = 12;
    },
    /version 12 in Redis and at 18 in the journal/,
  ],
  [
    "I8",
    "a record that Redis has lost",
    (e) => {
      e.records.clear();
    },
    /in the journal and not in Redis/,
  ],
  [
    "I9",
    "a request that stands still",
    (e) => {
      open(e, "running");
      job(e, "active");
    },
    /neither over nor waiting/,
  ],
  [
    "I9",
    "a wait whose time is over",
    (e) => {
      open(e, "waiting", { waiting: { ...WAITING.waiting, untilMs: T0 } });
      job(e, "delayed");
    },
    /whose time is over/,
  ],
  ["I9", "a request without a job", (e) => open(e, "waiting", WAITING), /without a job/],
  [
    "I9",
    "a failed job that nothing explains",
    (e) => {
      open(e, "waiting", WAITING);
      job(e, "delayed");
      e.dump.set("{chaos}:queue:sign:failed", { type: "zset", value: [[ID, T0]] });
    },
    /failed job .* is not explained/,
  ],
  ["I9", "a request that is overdue", (e) => e.dump.set(DUE, { type: "zset", value: [[ID, T0]] }), /overdue/],
  [
    "I10",
    "an approval that nobody decided",
    (e) => {
      delete record(e).facts["decision"];
      without(e.journal.lines, ({ note }) => note === "approved");
    },
    /nobody is on record/,
  ],
  [
    "I10",
    "an approval before the decision",
    (e) => {
      for (const decision of [record(e).facts["decision"]]) (decision as { atMs: number }).atMs = T0 + 5_000;
    },
    /nobody is on record/,
  ],
  [
    "I11",
    "a journal that was changed",
    (e) => e.journal.flaws.push("x.jsonl line 3: its HMAC is not the one of this chain"),
    /HMAC/,
  ],
  [
    "I11",
    "a call that was not written down before",
    (e) => without(e.journal.lines, ({ note }) => note === "sign"),
    /sign no. 1 had 0 intents/,
  ],
  [
    "I11",
    "a call that was written down too late",
    (e) => {
      for (const line of e.journal.lines) if (line.note === "otp") line.atMs += 5_000;
    },
    /otp no. 1 had 0 intents/,
  ],
  [
    "I12",
    "a secret in a log",
    (e) => e.leaks.push({ what: "a phone number", where: "worker-1.log" }),
    /a phone number stands in worker-1.log/,
  ],
  [
    "I13",
    "a process that ended by itself",
    (e) => e.exits.push({ name: "worker-2", code: 1, signal: null, planned: false }),
    /worker-2 ended by itself \(exit code 1\)/,
  ],
];

test.each(BROKEN)("%s is broken by %s", (invariant, _what, spoil, text) => {
  const evidence = good();
  spoil(evidence);
  const found = findViolations(evidence).filter((one) => one.invariant === invariant);
  expect(found.map((one) => one.text).join("\n")).toMatch(text);
});

test("a journal is read as far as it is right, and what is not is told", () => {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-checker-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const key = Buffer.from("0123456789abcdef");
  const write = (name: string, entries: object[], spoil = (text: string) => text) => {
    let last = "";
    const lines = entries.map((entry) => {
      const json = JSON.stringify(entry);
      last = createHmac("sha256", key).update(`${last}\n${json}`).digest("base64url");
      return `${json.slice(0, -1)},"mac":"${last}"}\n`;
    });
    writeFileSync(join(dir, name), spoil(lines.join("")));
    return last;
  };
  const entry = (version: number) => ({ request: ID, version, mark: `m${version}` });
  const end = write("1.jsonl", [{ format: "x", after: [] }, entry(1), entry(2)]);
  write("2.jsonl", [{ format: "x", after: [{ file: "1.jsonl", mac: end }] }, entry(3)]);
  expect(readJournal(dir, key)).toMatchObject({ flaws: [], lines: [{ version: 1 }, { version: 2 }, { version: 3 }] });

  write("2.jsonl", [{ format: "x", after: [] }, entry(3), entry(4)], (text) => text.slice(0, -20));
  expect(readJournal(dir, key)).toMatchObject({ flaws: [], lines: [{ version: 1 }, { version: 2 }, { version: 3 }] });
  write("2.jsonl", [{ format: "x", after: [] }, entry(3), entry(4)], (text) =>
    text.replace('"version":3', '"version":5'),
  );
  expect(readJournal(dir, key).flaws).toEqual(["2.jsonl line 2: its HMAC is not the one of this chain"]);
  write("2.jsonl", [{ format: "x", after: [{ file: "1.jsonl", mac: "another" }] }]);
  expect(readJournal(dir, key).flaws).toEqual(["1.jsonl is shorter than a later file says"]);
  write("2.jsonl", [{ format: "x", after: [{ file: "0.jsonl", mac: "another" }] }]);
  expect(readJournal(dir, key).flaws).toEqual(["0.jsonl is named by a later file and is not there"]);
});

test("a code is found where it stands alone, and not in a larger number", () => {
  const canaries = [
    { what: "a code", word: "123456" },
    { what: "an e-mail address", word: "a@b.example" },
  ];
  const find = (text: string) => [...searchFor(canaries)(text)];
  expect(find('{"secret":"123456"}')).toEqual(["a code"]);
  expect(find('{"at":1123456789,"mac":"x+123456/y"}')).toEqual([]);
  expect(find("mail to a@b.example")).toEqual(["an e-mail address"]);
});

test("a signed PDF has a signature that covers it to its end", () => {
  const range = "/ByteRange [0000 0010 0020 9999]";
  const pdf = (to: number) => `%PDF-1.7 ${range.replace("9999", String(to).padStart(4, "0"))} %%EOF\n`;
  const size = pdf(0).length;
  expect(flawOf(Buffer.from(pdf(size - 20)))).toBeUndefined();
  expect(flawOf(Buffer.from(pdf(size - 21)))).toMatch(/does not cover/);
  expect(flawOf(Buffer.from("%PDF-1.7 %%EOF"))).toMatch(/no signature/);
  expect(flawOf(Buffer.from("%PDF-1.7 cut"))).toMatch(/does not end/);
  expect(flawOf(Buffer.from("<html>"))).toMatch(/does not begin/);
});
