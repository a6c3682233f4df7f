import { cpSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { WORKFLOWS } from "../../src/core/workflow.ts";
import { readJson, startHouse } from "../helpers/house.ts";
import { byOpenssl } from "../helpers/openssl.ts";
import { pdfsig } from "../helpers/pdfsig.ts";

const EXAMPLES = new URL("../../examples/", import.meta.url).pathname;
/** Those to drop; the others are programs, with tests of their own. */
const folders = readdirSync(EXAMPLES, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && existsSync(join(EXAMPLES, entry.name, "request.json")))
  .map(({ name }) => name);

/** What hash files are the hashes of. */
const SAID_OF: Record<string, string> = { "abc.txt.hash.json": "abc" };

test("there is an example of each workflow", () => {
  const shown = folders.map((name) => readJson(join(EXAMPLES, name, "request.json"))["workflow"]);
  expect(WORKFLOWS.filter((workflow) => !shown.includes(workflow))).toEqual([]);
});

test.each(folders)(
  "the example %s, dropped as it is, comes back signed, and nothing else of it stays",
  async (name) => {
    const house = await startHouse({
      settings: { INBOX_FOLDER_SETTLE_MS: "300" },
      simulator: { humans: { signer: "auto" } },
    });
    await house.app.startInbox();
    cpSync(join(EXAMPLES, name), join(house.dataDir, "inbox", name), { recursive: true });
    const path = join(house.dataDir, "status", `${name}.status.json`);
    const status = () =>
      (existsSync(path) ? readJson(path) : {}) as { request_id?: string; state?: string; signed?: string[] };
    await expect.poll(() => status().request_id, { timeout: 15_000 }).toMatch(/^req-/);
    const id = status().request_id ?? "";
    await house.waits(id, "approval");
    await house.call("POST", `/v1/requests/${id}/approve`);
    await house.waits(id, "code");
    await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
    await expect.poll(() => status().state, { timeout: 20_000 }).toBe("done");

    const { signature } = readJson(join(EXAMPLES, name, "request.json")) as { signature?: { format?: string } };
    const isApart = signature?.format === "cms";
    const isDocument = (file: string) => (isApart ? file !== "request.json" : file.endsWith(".pdf"));
    const documents = readdirSync(join(EXAMPLES, name)).filter(isDocument);
    for (const document of documents) {
      if (isApart) {
        const content = SAID_OF[document] ?? readFileSync(join(EXAMPLES, name, document));
        const p7m = join(house.dataDir, "signed", id, `${document.replace(".hash.json", "")}.p7m`);
        expect(byOpenssl(p7m, Buffer.from(content), house.dataDir)).toBe("valid");
        continue;
      }
      const signed = join(house.dataDir, "signed", id, `${document}.signed.pdf`);
      expect(readFileSync(signed).length).toBeGreaterThan(1_000);
      const judged = pdfsig(signed);
      if (judged !== undefined) expect(judged).toContain("Signature is Valid");
    }
    await expect.poll(() => existsSync(join(house.dataDir, ".work", id)), { timeout: 10_000 }).toBe(false);
    expect(readdirSync(join(house.dataDir, "archive", id)).sort()).toEqual(documents.sort());
  },
);
