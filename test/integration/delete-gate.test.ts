import { createHash } from "node:crypto";
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Waiting } from "../../src/core/outcome.ts";
import type { SignRequest } from "../../src/core/request.ts";
import { toRequestId } from "../../src/core/request.ts";
import { createResults } from "../../src/files/results.ts";
import { cleanup } from "../../src/workers/cleanup.ts";
import { writeEvidence } from "../../src/workers/evidence.ts";
import { type Step, watchSteps } from "../helpers/file-steps.ts";

const ID = toRequestId(new Uint8Array(16).fill(3));
const OTHER = toRequestId(new Uint8Array(16).fill(4));
const hash = (text: string) => createHash("sha256").update(text).digest("hex");

interface Doc {
  id: string;
  uid: string;
  name: string;
  sizeBytes: number;
  sha256: string;
}

function docs(): Doc[] {
  return ["a", "b"].map((name) => {
    const text = `original ${name}`;
    return {
      id: `${ID}/${name}.pdf`,
      uid: `uid-${name}`,
      name: `${name}.pdf`,
      sizeBytes: text.length,
      sha256: hash(text),
    };
  });
}

/** A request whose two signed files were fetched, right before its documents are deleted at the provider. */
async function signedRequest() {
  const dir = mkdtempSync(join(tmpdir(), "signpipe-delete-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const results = createResults({ dir });
  const at = (name: string, id = ID) => join(dir, id, name);
  for (const id of [ID, OTHER]) {
    mkdirSync(join(dir, id));
    for (const name of ["a", "b"]) writeFileSync(at(`${name}.signed.pdf`, id), `signed ${name} of ${id}`);
  }
  const uploaded = docs();
  const signed = uploaded.map(({ id, uid, name }) => {
    const stored = name.replace(".pdf", ".signed.pdf");
    const text = readFileSync(at(stored), "utf8");
    return { id, uid, name: stored, sizeBytes: text.length, sha256: hash(text) };
  });
  const facts = {
    requestPk: 7,
    documents: docs(),
    uploaded,
    signed,
    signedMs: 1_000,
    fetchedMs: 2_000,
    enclosures: [],
  };
  const did: string[] = [];
  let nowMs = 3_000;
  const run = {
    requestId: ID,
    request: {
      id: ID,
      workflow: "videoid",
      source: "api",
      facts,
      createdMs: 0,
      updatedMs: 0,
    } as unknown as SignRequest,
    facts,
    ending: undefined,
    signal: new AbortController().signal,
    now: () => nowMs,
    results: {
      ...results,
      async writeEvidence(id: string, evidence: object) {
        did.push("evidence");
        await results.writeEvidence(id, evidence);
      },
    },
    policy: { deleteGraceMs: 0 },
    provider: {
      deleteDocument: async (_pk: number, uid: string) => void did.push(`delete ${uid}`),
      deleteDocuments: async () => void did.push("delete the rest"),
    },
    vault: { read: async () => undefined, erase: async () => void did.push("erase") },
    documents: { erase: async (files: object[]) => void (files.length > 0 && did.push(`erase ${files.length} file`)) },
    historyOf: async () => [],
    effect: async (_name: string, call: () => Promise<unknown>) => await call(),
  };
  await writeEvidence(run as unknown as Parameters<typeof writeEvidence>[0], {});
  did.length = 0;
  return {
    at,
    facts,
    did,
    policy: run.policy,
    clock: (ms: number) => (nowMs = ms),
    clean: () => cleanup.run(run as unknown as Parameters<typeof cleanup.run>[0]),
  };
}

type Case = Awaited<ReturnType<typeof signedRequest>>;

test("when every signed file is safe, each document is deleted once", async () => {
  const request = await signedRequest();
  expect(await request.clean()).toMatchObject({ removedMs: 3_000 });
  expect(request.did).toEqual(["delete uid-a", "delete uid-b", "delete the rest", "evidence", "erase"]);
});

test("what shows who signed goes with the signer's data, once the evidence names it", async () => {
  const request = await signedRequest();
  const file = { id: `${ID}/document_front`, name: "document_front", contentType: "image/jpeg" };
  Object.assign(request.facts, { enclosures: [{ ...file, sizeBytes: 7, sha256: hash("front") }] });
  await request.clean();
  expect(request.did.slice(-3)).toEqual(["evidence", "erase", "erase 1 file"]);
  const evidence = JSON.parse(readFileSync(request.at("evidence.json"), "utf8")) as { enclosures: object[] };
  expect(evidence.enclosures).toEqual([
    { name: "document_front", content_type: "image/jpeg", sha256: hash("front"), size_bytes: 7 },
  ]);
});

const SPOILT: Record<string, (request: Case) => void> = {
  "a byte was changed": ({ at }) => writeFileSync(at("b.signed.pdf"), `signed B of ${ID}`),
  "it was cut": ({ at }) => writeFileSync(at("b.signed.pdf"), "signed b"),
  "it was removed": ({ at }) => rmSync(at("b.signed.pdf")),
  "the whole folder was removed": ({ at }) => rmSync(at(""), { recursive: true }),
  "a folder is in its place": ({ at }) => {
    rmSync(at("b.signed.pdf"));
    mkdirSync(at("b.signed.pdf"));
  },
  "two files of the request were swapped": ({ at }) => {
    renameSync(at("a.signed.pdf"), at("c"));
    renameSync(at("b.signed.pdf"), at("a.signed.pdf"));
    renameSync(at("c"), at("b.signed.pdf"));
  },
  "it was swapped with another request's": ({ at }) => renameSync(at("a.signed.pdf", OTHER), at("a.signed.pdf")),
  "a link to the very same bytes is in its place": ({ at }) => {
    renameSync(at("a.signed.pdf"), at("elsewhere.pdf"));
    symlinkSync(at("elsewhere.pdf"), at("a.signed.pdf"));
  },
  "a hard link of another one is in its place": ({ at }) => {
    rmSync(at("a.signed.pdf"));
    linkSync(at("b.signed.pdf"), at("a.signed.pdf"));
  },
  "a document has no signed file": ({ facts }) => void facts.signed.pop(),
  "there is one signed file more than documents": ({ facts: { signed } }) =>
    void signed.push({ ...(signed[0] as (typeof signed)[0]), uid: "uid-c" }),
  "both signed files are of one document": ({ facts: { signed } }) =>
    void ((signed[1] as { uid: string }).uid = "uid-a"),
  "two documents have one uid": ({ facts: { uploaded } }) => void ((uploaded[1] as Doc).uid = "uid-a"),
  "one file stands for both documents": ({ facts: { signed } }) => {
    Object.assign(signed[1] as object, { ...signed[0], uid: "uid-b" });
  },
  "a signed file is that of another original": ({ facts: { signed } }) => {
    (signed[0] as { id: string }).id = `${OTHER}/1.pdf`;
  },
  "nothing was uploaded, as far as is known": ({ facts }) => {
    facts.uploaded.length = 0;
    facts.signed.length = 0;
  },
};

test.each(Object.keys(SPOILT))("nothing is deleted when %s", async (what) => {
  const request = await signedRequest();
  SPOILT[what]?.(request);
  await expect(request.clean()).rejects.toMatchObject({ code: "signed-file-changed", kind: "permanent" });
  expect(request.did).toEqual([]);
});

test.each([
  ["is missing", (path: string) => rmSync(path)],
  ["is not whole", (path: string) => writeFileSync(path, '{"documents": [{')],
  ["does not name the signed files", (path: string) => writeFileSync(path, '{"documents": [{"name": "a.pdf"}, null]}')],
])("evidence that %s is written anew before anything is deleted", async (_what, spoil) => {
  const request = await signedRequest();
  spoil(request.at("evidence.json"));
  await request.clean();
  expect(request.did).toEqual(["evidence", "delete uid-a", "delete uid-b", "delete the rest", "evidence", "erase"]);
  expect(readFileSync(request.at("evidence.json"), "utf8")).toContain(hash(`signed b of ${ID}`));
});

test("a disk that cannot be read deletes nothing, and fails nothing", async () => {
  const request = await signedRequest();
  const undo = await watchSteps((step: Step, _n, when) => {
    if (step === "read" && when === "before") throw Object.assign(new Error("i/o error"), { code: "EIO" });
  });
  await expect(request.clean().finally(undo)).rejects.toMatchObject({ code: "disk-error", kind: "retryable" });
  expect(request.did).toEqual([]);
});

test("while the grace runs nothing is deleted; a file that is spoilt in the meantime keeps the documents there", async () => {
  const request = await signedRequest();
  request.policy.deleteGraceMs = 86_400_000;
  expect(await request.clean()).toBeInstanceOf(Waiting);
  expect(request.did).toEqual([]);
  SPOILT["a byte was changed"]?.(request);
  request.clock(2_000 + 86_400_000);
  await expect(request.clean()).rejects.toMatchObject({ code: "signed-file-changed" });
  expect(request.did).toEqual([]);
});
