import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";
import { expect, onTestFinished, test } from "vitest";
import { runCommand } from "../helpers/cli-house.ts";
import { startHouse } from "../helpers/house.ts";

const patient = { timeout: 20_000 };

interface Heard {
  headers: Record<string, string>;
  body: string;
}

/** A caller's system, of which a test says with what it answers. */
async function startReceiver() {
  const heard: Heard[] = [];
  const receiver = { status: 204 };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
      heard.push({ headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(receiver.status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, heard, receiver };
}

test("signpipe notifications tells what became of each, tells them once more, and prints the secret that proves them", async () => {
  const { url, heard, receiver } = await startReceiver();
  receiver.status = 410;
  const house = await startHouse({ settings: { CALLBACK_HOSTS: "127.0.0.1", CALLBACK_URL: url } });
  const env = {
    API_URL: house.api,
    API_KEY: house.keyRing.apiKeys[0]?.secret ?? "",
    DATA_DIR: house.dataDir,
    MASTER_KEY: Buffer.from(house.keyRing.masterKey).toString("base64"),
  };
  const notifications = (...args: string[]) => runCommand(["notifications", ...args], { env });
  const id = await house.submit({ reference: "loan-2031" });
  await house.waits(id, "identification");

  // Listed by the beginning of an id, and by the caller's own reference.
  await expect.poll(async () => (await notifications(id.slice(0, 12))).out, patient).toContain("stopped");
  const { out, exitCode } = await notifications("loan-2031");
  expect(exitCode).toBe(0);
  const [header, line] = out.split("\n");
  expect(header).toMatch(/^ID +TYPE +STATE +TRIED +LAST +NEXT/);
  expect(line).toMatch(/^msg_req-\S+ +request\.waiting +stopped +1 +callback-gone/);
  const asJson = JSON.parse((await notifications(id, "--json")).out) as { items: { id: string }[] };
  const [item] = asJson.items;
  expect(item).toMatchObject({ type: "request.waiting", state: "stopped", status: 410 });

  // One of them, all of a request, all since a time; each under its id.
  receiver.status = 204;
  const replayed = await notifications("replay", id, String(item?.id));
  expect(replayed).toMatchObject({ exitCode: 0, err: "Told once more: 1\n" });
  await expect.poll(async () => (await notifications(id)).out, patient).toMatch(/delivered +2 +204/);
  expect(await notifications("replay", id)).toMatchObject({
    exitCode: 0,
    err: "There is nothing to be told once more.\n",
  });
  expect(JSON.parse((await notifications("replay", id, "--json")).out)).toEqual({ replayed: 0 });
  const since = await notifications("replay", "--since", new Date(0).toISOString());
  expect(since).toMatchObject({ exitCode: 0, err: "There is nothing to be told once more.\n" });
  expect(heard.map(({ headers }) => headers["webhook-id"])).toEqual([item?.id, item?.id]);

  // The secret that is printed is that of the standard's own library.
  const secret = (await notifications("secret")).out.trim();
  for (const { headers, body } of heard) new Webhook(secret).verify(body, headers);
  expect(() => new Webhook(`whsec_${"A".repeat(43)}=`).verify(heard[0]?.body ?? "", heard[0]?.headers ?? {})).toThrow();
}, 60_000);

test("what signpipe notifications cannot do it says, with what to give instead", async () => {
  const house = await startHouse({ work: false });
  const env = { API_URL: house.api, API_KEY: house.keyRing.apiKeys[0]?.secret ?? "", DATA_DIR: house.dataDir };
  const id = await house.submit();
  const none = await runCommand(["notifications", id], { env });
  expect(none).toMatchObject({
    exitCode: 0,
    out: "",
    err: "Nobody was told anything of this request, within 30 days.\n",
  });
  const which = await runCommand(["notifications", "replay"], { env });
  expect(which.exitCode).not.toBe(0);
  expect(which.err).toContain("Give the id of a request, or --since");
  const both = await runCommand(["notifications", "replay", id, "--since", "2026-11-24T08:00:00Z"], { env });
  expect(both.exitCode).not.toBe(0);
  const noTime = await runCommand(["notifications", "replay", "--since", "yesterday"], { env });
  expect(noTime.err).toContain("must be a time like");
  const unknown = await runCommand(["notifications", "replay", id, "msg_none"], { env });
  expect(unknown.exitCode).not.toBe(0);
  expect(unknown.err).toContain("no notification");
  const nobody = await runCommand(["notifications", "req-nobody"], { env });
  expect(nobody.exitCode).not.toBe(0);
}, 60_000);
