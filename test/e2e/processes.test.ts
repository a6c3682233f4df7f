import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { samplePdf, SIGNER } from "../helpers/house.ts";
import { childrenOf, freshFolder, spawnSignpipe, until } from "../helpers/signpipe-process.ts";

const REQUESTS = 8;

interface Ready {
  api: string;
  simulator: string;
}
interface Listed {
  items: { id: string; state: string; request_pk?: number; waiting?: { for: string } }[];
}

test("workers beside a running start share its Redis and its simulator; when one is killed, the other goes on", async () => {
  const dir = freshFolder();
  const env = {
    PATH: process.env["PATH"],
    HOME: process.env["HOME"],
    DATA_DIR: dir,
    API_PORT: "0",
    APPROVAL: "auto",
    LOCK_MS: "2000",
    CREATE_GRACE_MS: "1500",
    SETTLE_MS: "300",
    SIGN_SETTLE_MS: "800",
    RECONCILE_MS: "1000",
    SHUTDOWN_GRACE_MS: "3000",
  };
  const start = spawnSignpipe(["start", "--only", "api,inbox,keeping"], env);
  const ready = await until("the start", () =>
    start.out().includes("\n") ? (JSON.parse(start.out()) as Ready) : undefined,
  );
  const humans = { signer: "auto", signerDelayMs: 100 };
  await post(`${ready.simulator}settings`, { humans, latencyMs: 150 });

  // One of each way to have workers of one's own.
  const first = spawnSignpipe(["work"], env);
  const second = spawnSignpipe(["start", "--only", "workers"], env);
  await until("the first workers", () => first.err().includes("Working on create") || undefined);
  await until("the second workers", () => second.out().includes("\n") || undefined);
  for (const { pid } of [first, second]) expect(childrenOf(pid)).toEqual([]);
  expect(childrenOf(start.pid).filter(({ command }) => command.includes("simulate"))).toHaveLength(1);

  const twice = spawnSignpipe(["start", "--only", "keeping"], env);
  expect(await twice.ended).toBe(1);
  expect(twice.err()).toContain(`A signpipe runs on ${dir} already`);

  const key =
    readFileSync(join(dir, "keys", "api-keys"), "utf8")
      .trim()
      .split(":")[1] ?? "";
  const headers = { authorization: `Bearer ${key}` };
  const list = async () => (await (await fetch(`${ready.api}/v1/requests?limit=100`, { headers })).json()) as Listed;
  for (let i = 0; i < REQUESTS; i++) {
    const form = new FormData();
    form.set("manifest", JSON.stringify({ signer: SIGNER }));
    const pdf = new Blob([new Uint8Array(await samplePdf())], { type: "application/pdf" });
    form.append("file", pdf, "lease.pdf");
    expect((await fetch(`${ready.api}/v1/requests`, { method: "POST", headers, body: form })).status).toBe(202);
  }

  const workedOn = ({ err }: { err(): string }) => new Set(err().match(/req-[a-z0-9]{26}/g));
  await until("work of both", () => (workedOn(first).size > 0 && workedOn(second).size > 0) || undefined);
  first.child.kill("SIGKILL");
  expect(await first.ended).toBe("SIGKILL");

  const coded = new Set<string>();
  const done = await until(
    "the end of all",
    async () => {
      const { items } = await list();
      for (const { id, request_pk, waiting } of items) {
        if (waiting?.for !== "code" || coded.has(id)) continue;
        const outbox = await fetch(`${ready.simulator}outbox?request_pk=${request_pk}`);
        const code = ((await outbox.json()) as { code: string }[]).at(-1)?.code;
        await post(`${ready.api}/v1/requests/${id}/code`, { secret: code }, headers);
        coded.add(id);
      }
      return items.every(({ state }) => state === "done") ? items : undefined;
    },
    60_000,
  );
  expect(done).toHaveLength(REQUESTS);
  const ledger = (await (await fetch(`${ready.simulator}ledger`)).json()) as { effect: string; request_pk: number }[];
  const signed = ledger.filter(({ effect }) => effect === "sign").map(({ request_pk }) => request_pk);
  expect(signed.toSorted()).toEqual(done.map(({ request_pk }) => request_pk).toSorted());
});

test("workers without a Redis and a provider to work for say so, and start none", async () => {
  const dir = freshFolder();
  const work = spawnSignpipe(["work", "upload", "sign"], { PATH: process.env["PATH"], DATA_DIR: dir });
  expect(await work.ended).toBe(1);
  expect(work.err()).toBe(
    `signpipe: No signpipe runs on ${dir} whose Redis and provider these workers could use: start it with "npm start", or set REDIS_URL and ONESHOT_URL.\n`,
  );
});

async function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<void> {
  const init = { method: "POST", headers: { ...headers, "content-type": "application/json" } };
  const answer = await fetch(url, { ...init, body: JSON.stringify(body) });
  expect(answer.ok, `${url}: ${answer.status}`).toBe(true);
}
