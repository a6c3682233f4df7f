import { createHash, randomBytes } from "node:crypto";
import { createReadStream, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { toRequestId } from "../src/core/request.ts";
import { DocumentUid, RequestPk } from "../src/core/signing.ts";
import { verifySigned } from "../src/files/verify.ts";
import { bigSample, finish, run, scratch, startApp, startProvider, startRedis, startServer } from "./parts.ts";
import { report } from "./report.ts";

/**
 * Documents of 300 MB on their way in and out, each beside what curl needs for the same. The receiver of
 * uploads is the same for both; a download is curl's, put on disk and hashed.
 */
const MEGABYTES = Number(process.env["BENCH_MEGABYTES"] ?? 300);
const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 3);

const dir = scratch();
const sample = await bigSample(dir, Math.round((MEGABYTES * 1e6) / (1 << 20)));
const { original } = sample;
const redis = await startRedis();
const oneshotUrl = await startProvider(sample);
const sink = `http://127.0.0.1:${(await startServer("./sink.ts", [join(dir, "sink")])).port}`;
const received = join(dir, "received.pdf");

const deployed = await startServer("./app.ts", [redis.url, sink, scratch()]);
const api = `http://127.0.0.1:${deployed.port}`;
const { app } = await startApp(redis.url, oneshotUrl);
const toSink = await startApp(redis.url, `${sink}/oneshot/api/v1`);
const bearer = `Authorization: Bearer ${deployed.secret}`;
const manifest = JSON.stringify({ signer: { email: "bench@example.com", mobile_phone_number: "+34699999999" } });
const expected = await factsOf(original);

const form = ["-F", `file=@${original};type=application/pdf`];

async function curl(...args: string[]): Promise<void> {
  await run("curl", ["--silent", "--show-error", "--fail", "--output", join(dir, "answer"), ...args]);
}

async function factsOf(path: string): Promise<{ sizeBytes: number; sha256: string }> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return { sizeBytes: statSync(path).size, sha256: hash.digest("hex") };
}

async function uploadToProvider(): Promise<void> {
  const file = { name: "big.pdf", ...expected, open: () => app.documents.open({ ...document, ...expected }) };
  await toSink.app.provider.upload(RequestPk.parse(1), [file]);
}
const id = toRequestId(randomBytes(16));
await app.documents.beginUpload(id);
const document = { id: `${id}/1.pdf`, name: "big.pdf" };
await run("ln", [original, app.documents.path(document)]);

async function fetchSigned(): Promise<void> {
  const { body } = await app.provider.signedDocument(RequestPk.parse(1_000_001), DocumentUid.parse("uid-1"));
  const name = `${randomBytes(4).toString("hex")}.pdf`;
  await app.results.store(id, name, body, (content) =>
    verifySigned(content, { original: expected, incremental: true }),
  );
  rmSync(app.results.path(id, name));
}

async function fetchByCurl(): Promise<void> {
  await run("curl", ["--silent", "--fail", "-o", received, `${oneshotUrl}/document/1/signed/uid-1`]);
  await run("sync", [received]);
  await run("sha256sum", [received]);
}

/** Milliseconds of every way, in turn, so that what disturbs one disturbs the others. */
const ways = {
  apiUpload: () =>
    curl("-H", bearer, "-F", `manifest=${manifest};type=application/json`, ...form, `${api}/v1/requests`),
  apiUploadByCurl: () => curl(...form, sink),
  providerUpload: uploadToProvider,
  providerUploadByCurl: () => curl(...form, sink),
  download: fetchSigned,
  downloadByCurl: fetchByCurl,
};
const times = Object.fromEntries(Object.keys(ways).map((way) => [way, [] as number[]]));
for (let round = 0; round < ROUNDS; round++) {
  for (const [way, act] of Object.entries(ways)) {
    const before = performance.now();
    await act();
    times[way]?.push(performance.now() - before);
  }
}
const median = (way: keyof typeof ways) => times[way]?.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? 0;
const megabytesPerSecond = (way: keyof typeof ways) => (expected.sizeBytes / 1e6 / median(way)) * 1000;

report("documents", {
  "MB/s, upload to the API": megabytesPerSecond("apiUpload"),
  "MB/s, the same by curl to a plain receiver (reference)": megabytesPerSecond("apiUploadByCurl"),
  "ratio, upload to the API": median("apiUploadByCurl") / median("apiUpload"),
  "MB/s, upload to the provider": megabytesPerSecond("providerUpload"),
  "MB/s, the same by curl (reference)": megabytesPerSecond("providerUploadByCurl"),
  "ratio, upload to the provider": median("providerUploadByCurl") / median("providerUpload"),
  "MB/s, signed PDF fetched, verified and stored": megabytesPerSecond("download"),
  "MB/s, fetched by curl, put on disk and hashed (reference)": megabytesPerSecond("downloadByCurl"),
  "ratio, download": median("downloadByCurl") / median("download"),
});
await finish();
process.exit(0);
