import { createHash } from "node:crypto";
import { type FileHandle, open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { Pool } from "undici";

/** What a stage of the floor does for one request. */
export type Work = (stage: number, id: string) => Promise<void>;

/**
 * The least that any program has to do for a request of the workflow, whatever it promises: the provider's calls, a line
 * of a journal on disk before each costly one (one flush for all that come together), the contract, the signed PDF and
 * the evidence on disk for good. No checks, no record but the chain's own, no answer to any fault. Put into the bare
 * chain's stages it tells how near to that chain the whole workflow could come on this machine.
 */
export async function createFloor({
  oneshotUrl,
  original,
  dir,
}: {
  oneshotUrl: string;
  original: string;
  dir: string;
}): Promise<{ work: Work; close: () => Promise<void> }> {
  const { origin, pathname } = new URL(oneshotUrl);
  const pool = new Pool(origin, { connections: 200 });
  const journal = createGroup(await open(join(dir, "floor.jsonl"), "a"));
  const known = new Map<string, { pk: number; videoidPk: number; uid: string }>();
  const boundary = "----floor";

  async function call(method: "GET" | "POST" | "DELETE", path: string, body?: object | Buffer): Promise<Buffer> {
    const isForm = body instanceof Uint8Array;
    const type = isForm ? `multipart/form-data; boundary=${boundary}` : "application/json";
    const answer = await pool.request({
      method,
      path: pathname + path,
      headers: { "content-type": type },
      body: isForm ? body : body ? JSON.stringify(body) : null,
    });
    return Buffer.from(await answer.body.arrayBuffer());
  }

  async function ask(...args: Parameters<typeof call>): Promise<{ detail: Record<string, never> }> {
    return JSON.parse((await call(...args)).toString()) as { detail: Record<string, never> };
  }

  async function keep(name: string, bytes: Buffer): Promise<void> {
    const path = join(dir, name);
    const file = await open(`${path}.part`, "wx");
    await file.write(bytes);
    await file.sync();
    await file.close();
    await rename(`${path}.part`, path);
    const folder = await open(dir);
    await folder.sync();
    await folder.close();
  }

  async function work(stage: number, id: string): Promise<void> {
    const { pk = 0, videoidPk = 0, uid = "" } = known.get(id) ?? {};
    switch (stage) {
      case 0: {
        await journal.add(`create ${id}`);
        const { detail } = await ask("POST", "/videoid", { email: `${id}@example.com`, profile: "P" });
        known.set(id, { pk: detail["request_pk"] ?? 0, videoidPk: detail["videoid_pk"] ?? 0, uid: "" });
        return;
      }
      case 1:
        return void (await ask("GET", `/request/${pk}`));
      case 2:
        await journal.add(`approve ${id}`);
        return void (await ask("POST", `/videoid/${videoidPk}/approve`, { username: "u", password: "p" }));
      case 3: {
        await journal.add(`upload ${id}`);
        const head = `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n`;
        const bytes = Buffer.concat([
          Buffer.from(head),
          await readFile(original),
          Buffer.from(`\r\n--${boundary}--\r\n`),
        ]);
        const { detail } = await ask("POST", `/document/${pk}`, bytes);
        known.set(id, { pk, videoidPk, uid: detail["uid"] ?? "" });
        return;
      }
      case 4:
        return await keep(`${id}.contract.pdf`, await call("GET", `/contract/${pk}`));
      case 5:
        createHash("sha256")
          .update(await call("GET", `/document/${pk}/original/${uid}`))
          .digest();
        return;
      case 6:
        await journal.add(`sign ${id}`);
        return void (await ask("POST", `/sign/${pk}`, { ext_unlock_type: "b", ext_unlock_value: "v" }));
      case 7:
        return await keep(`${id}.signed.pdf`, await call("GET", `/document/${pk}/signed/${uid}`));
      default:
        await journal.add(`delete ${id}`);
        await ask("DELETE", `/document/${pk}/${uid}`);
        await ask("DELETE", `/document/${pk}`);
        await keep(`${id}.evidence.json`, Buffer.from(JSON.stringify({ id, pk, uid })));
        known.delete(id);
    }
  }

  return {
    work,
    async close() {
      await journal.close();
      await pool.close();
    },
  };
}

/** Lines of a file, flushed together. */
function createGroup(file: FileHandle) {
  let pending: { line: string; done: () => void; failed: (error: Error) => void }[] = [];
  let flushing: Promise<void> | undefined;

  async function flush(): Promise<void> {
    while (pending.length > 0) {
      const batch = pending;
      pending = [];
      try {
        await file.write(batch.map(({ line }) => `${line}\n`).join(""));
        await file.datasync();
        for (const { done } of batch) done();
      } catch (error) {
        for (const { failed } of batch) failed(error as Error);
      }
    }
    flushing = undefined;
  }

  return {
    add: (line: string) =>
      new Promise<void>((done, failed) => {
        pending.push({ line, done, failed });
        flushing ??= flush();
      }),
    async close() {
      await flushing;
      await file.close();
    },
  };
}
