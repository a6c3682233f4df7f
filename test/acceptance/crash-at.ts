import crypto from "node:crypto";
import fs from "node:fs";
import promises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Redis } from "ioredis";

/**
 * Loaded into a signpipe before it starts (node --import): the process kills itself right after the step that CRASH_AT
 * names was carried out, for the file whose digest is CRASH_SHA256. The program itself is as it is.
 */
const step = process.env["CRASH_AT"] ?? "";
const digest = process.env["CRASH_SHA256"] ?? "";

function reach(name: string, isIt: boolean): void {
  if (isIt && name === step) process.kill(process.pid, "SIGKILL");
}

const toText = (path: unknown) => (Buffer.isBuffer(path) ? path.toString() : String(path));

const { renameSync, writeFileSync } = fs;
fs.renameSync = (from, to) => {
  renameSync(from, to);
  reach("renamed", /\/gate\/req-\w+$/.test(toText(to)));
  reach("sidecar renamed", /\/gate\/req-\w+\.json$/.test(toText(to)));
};
fs.writeFileSync = (path, ...more) => {
  writeFileSync(path, ...more);
  reach("claim written", toText(path).endsWith("/claim.json"));
};
const { rename, writeFile } = promises;
promises.rename = async (from, to) => {
  await rename(from, to);
  reach("acknowledged", toText(to).endsWith(".pdf.status.json"));
};
promises.writeFile = async (path, ...more) => {
  await writeFile(path, ...more);
  reach("listed", toText(path).endsWith(".list"));
};
const hash = Object.getPrototypeOf(crypto.createHash("sha256")) as { digest(encoding?: "hex"): string | Buffer };
const finish = hash.digest;
hash.digest = function (encoding) {
  const result = finish.call(this, encoding);
  reach("hashed", (Buffer.isBuffer(result) ? result.toString("hex") : result) === digest);
  return result;
};
syncBuiltinESMExports();

/** A script that Redis runs, by the keys that it is given. */
interface Command {
  name: string;
  args: unknown[];
  promise: Promise<unknown>;
}
const redis = Redis.prototype as unknown as { sendCommand(command: Command, ...more: unknown[]): unknown };
const send = redis.sendCommand;
redis.sendCommand = function (command, ...more) {
  if (/^eval(sha)?$/.test(command.name)) {
    const keys = command.args.slice(2).map(toText);
    const isRecord = keys.some((key) => /:request:req-\w+$/.test(key));
    const isJob = keys.some((key) => key.includes(":queue:create:"));
    command.promise.then(
      () => {
        reach("recorded", isRecord);
        reach("queued", isJob);
      },
      () => {}, // Redis does not know the script yet: it is sent as a whole
    );
  }
  return send.call(this, command, ...more);
};
