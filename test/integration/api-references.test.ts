import { createHash } from "node:crypto";
import type { lookup } from "node:dns";
import type { IncomingMessage, ServerResponse } from "node:http";
import { expect, onTestFinished, test, vi } from "vitest";
import { createRemote } from "../../src/producers/api/remote.ts";
import { startFiles } from "../helpers/file-server.ts";
import { AUTHORIZED, MANIFEST, PDF, startApiHouse, told } from "../helpers/api-house.ts";

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

function remoteOf(options: Parameters<typeof createRemote>[0]) {
  const remote = createRemote(options);
  onTestFinished(() => remote.close());
  return remote;
}

async function startFetching(
  answer: (request: IncomingMessage, response: ServerResponse) => void = (_request, response) => response.end(PDF),
  more: Parameters<typeof startApiHouse>[0] = {},
) {
  const files = await startFiles(answer);
  const house = await startApiHouse({ remote: remoteOf({ hosts: [files.origin], silenceMs: 300 }), ...more });
  const hand = (documents: unknown, headers: Record<string, string> = {}, manifest: unknown = MANIFEST) =>
    house.app.inject({
      method: "POST",
      url: "/v1/requests",
      headers: { ...AUTHORIZED, ...headers },
      payload: { manifest, documents } as object,
    });
  return { ...files, house, hand };
}

test("documents are fetched from where the submission says, in order, and stored like any others", async () => {
  const other = Buffer.concat([PDF, Buffer.from("% other\n")]);
  const { hand, house, origin, asked } = await startFetching((request, response) =>
    response.end(request.url?.startsWith("/two") ? other : PDF),
  );
  const answer = await hand([
    { url: `${origin}/two?signature=canary` },
    { url: `${origin}/deep/lease%20of%20%C3%9Clm.pdf`, sha256: sha256(PDF) },
    { url: `${origin}/one`, name: "letter.pdf" },
  ]);
  expect([answer.statusCode, told(answer).links.signed_documents.length]).toEqual([202, 3]);
  const documents = house.submissions[0]?.documents ?? [];
  expect(documents.map(({ name, sha256: digest }) => [name, digest])).toEqual([
    ["two", sha256(other)],
    ["lease of Ülm.pdf", sha256(PDF)],
    ["letter.pdf", sha256(PDF)],
  ]);
  expect(asked[0]).toMatchObject({ url: "/two?signature=canary", headers: { "accept-encoding": "identity" } });
  expect(asked[0]?.headers).not.toHaveProperty("authorization");
  expect(house.logged() + JSON.stringify(house.submissions[0]?.documents)).not.toContain("canary");
});

test("the same JSON under the same key is answered as before, and nothing is fetched a second time", async () => {
  const { hand, house, origin, asked } = await startFetching();
  const key = { "idempotency-key": "order-19" };
  const first = await hand([{ url: `${origin}/a` }], key);
  const again = await hand([{ url: `${origin}/a` }], key);
  expect([again.statusCode, again.headers["idempotency-replayed"], again.body]).toEqual([202, "true", first.body]);
  expect([asked.length, house.submissions.length]).toEqual([1, 1]);
  const other = await hand([{ url: `${origin}/b` }], key);
  expect(told(other)).toMatchObject({ status: 422, code: "idempotency-mismatch" });
});

test.each([
  [
    "is another",
    (_: IncomingMessage, response: ServerResponse) => response.end("%PDF-1.7 other %%EOF"),
    422,
    "document-differs",
  ],
  [
    "is not there",
    (_: IncomingMessage, response: ServerResponse) => response.writeHead(404).end("canary"),
    422,
    "document-not-fetched",
  ],
  [
    "is somewhere else",
    (_: IncomingMessage, response: ServerResponse) =>
      response.writeHead(302, { location: "http://169.254.169.254/" }).end(),
    422,
    "document-not-fetched",
  ],
  [
    "is packed",
    (_: IncomingMessage, response: ServerResponse) => response.writeHead(200, { "content-encoding": "gzip" }).end(PDF),
    422,
    "document-not-fetched",
  ],
  [
    "cannot be had now",
    (_: IncomingMessage, response: ServerResponse) => response.writeHead(503).end(),
    503,
    "document-host-unreachable",
  ],
  [
    "breaks off",
    (_: IncomingMessage, response: ServerResponse) =>
      response.writeHead(200, { "content-length": "999" }).write(PDF, () => response.destroy()),
    503,
    "document-host-unreachable",
  ],
  [
    "stops to come",
    (_: IncomingMessage, response: ServerResponse) => response.writeHead(200, { "content-length": "999" }).write(PDF),
    503,
    "document-host-unreachable",
  ],
  ["never comes", () => {}, 503, "document-host-unreachable"],
])("a document that %s is refused, and nothing stays behind", async (_what, answer, status, code) => {
  const { hand, house, origin } = await startFetching(answer);
  const refused = await hand([{ url: `${origin}/a?signature=canary`, sha256: sha256(PDF) }]);
  expect(told(refused)).toMatchObject({ status, code });
  expect(refused.headers["retry-after"]).toBe(status === 503 ? "30" : undefined);
  expect(refused.body + house.logged()).not.toContain("canary");
  expect([house.submissions.length, await house.stored()]).toEqual([0, []]);
});

test("sizes are bounded, whether they are said or not, and what is fetched is checked", async () => {
  const big = Buffer.alloc(6_000, 32);
  const limits = { documentBytes: 5_000, totalBytes: 9_000 };
  for (const isSaid of [true, false]) {
    const { hand, house, origin } = await startFetching(
      (request, response) => {
        const body =
          request.url === "/text"
            ? Buffer.from("no pdf")
            : request.url === "/big"
              ? big
              : Buffer.concat([PDF.subarray(0, 9), Buffer.alloc(4_900, 32), PDF.subarray(9)]);
        if (isSaid) response.setHeader("content-length", body.length);
        response.write(body);
        response.end();
      },
      { limits },
    );
    const refusal = async (...paths: string[]) => told(await hand(paths.map((path) => ({ url: origin + path }))));
    expect(await refusal("/big")).toMatchObject({
      status: 413,
      code: "too-large",
      errors: [{ field: "documents[1]" }],
    });
    expect(await refusal("/a", "/b")).toMatchObject({ status: 413, code: "too-large" });
    expect(await refusal("/text")).toMatchObject({
      status: 415,
      code: "not-a-pdf",
      errors: [{ field: "documents[1]" }],
    });
    expect(await house.stored()).toEqual([]);
  }
});

test.each([
  [
    [{ url: "ftp://files.example/a" }],
    "body.documents.0.url",
    "must be an address like https://files.example/lease.pdf",
  ],
  [[{ url: "lease.pdf" }], "body.documents.0.url", "must be an address like https://files.example/lease.pdf"],
  [[], "body.documents", undefined],
  [undefined, "body.documents", "is missing"],
  [[{ url: "https://files.example/a", sha256: "x" }], "body.documents.0.sha256", undefined],
  [[{ href: "https://files.example/a" }], "body.documents.0.href", "is not a key that is known here"],
])("documents given as %j are refused with the field named", async (documents, field, message) => {
  const { hand, asked } = await startFetching();
  const answer = told<{ errors: { field: string; message: string }[] }>(await hand(documents));
  expect(answer).toMatchObject({
    status: 400,
    code: "invalid-request",
    errors: expect.arrayContaining([expect.objectContaining({ field, ...(message && { message }) })]) as unknown,
  });
  expect(asked).toEqual([]);
});

test("a manifest that cannot be used is refused before anything is fetched", async () => {
  const { hand, origin, asked } = await startFetching();
  const answer = await hand([{ url: `${origin}/a` }], {}, { signer: { email: "nobody" } });
  expect(told(answer)).toMatchObject({ status: 422, code: "invalid-manifest" });
  expect(asked).toEqual([]);
});

test("without the operator's word no document is fetched", async () => {
  const { hand, origin, asked } = await startFetching(undefined, { remote: remoteOf({ hosts: [] }) });
  expect(told(await hand([{ url: `${origin}/a` }]))).toMatchObject({ status: 422, code: "document-host-not-allowed" });
  expect(asked).toEqual([]);
});

const HOSTS = [
  "files.example",
  "files.example:8443",
  "*.store.example",
  "http://10.0.0.5:9000",
  "https://in.example",
  "127.0.0.1",
];

test.each([
  "https://files.example/a",
  "https://FILES.example:443/a",
  "https://files.example:8443/a",
  "https://bucket.store.example/a?x=1",
  "http://10.0.0.5:9000/bucket/a",
  "https://in.example/a",
])("%s may be fetched", (url) => {
  expect(() => remoteOf({ hosts: HOSTS }).mayFetch(url)).not.toThrow();
});

test.each([
  "http://files.example/a",
  "https://files.example:444/a",
  "https://files.example.evil.example/a",
  "https://evilfiles.example/a",
  "https://store.example/a",
  "https://evilstore.example/a",
  "https://user:secret@files.example/a",
  "https://files.example@evil.example/a",
  "https://10.0.0.5:9000/bucket/a",
  "http://10.0.0.5/bucket/a",
  "http://in.example/a",
  // Named, and private by its own words.
  "https://127.0.0.1/a",
  "https://2130706433/a",
])("%s may not be fetched", (url) => {
  expect(() => remoteOf({ hosts: HOSTS }).mayFetch(url)).toThrow(
    expect.objectContaining({ code: "document-host-not-allowed" }) as Error,
  );
});

test("a name that leads to a private address is not called, whatever it led to before", async () => {
  const { host, asked } = await startFiles((_request, response) => response.end(PDF));
  const [, port = ""] = host.split(":");
  const told = vi.fn((_name: string, _options: unknown, done: (error: null, all: object[]) => void) => {
    done(null, [
      { address: "127.0.0.1", family: 4 },
      { address: "::1", family: 6 },
    ]);
  });
  const remote = remoteOf({ hosts: [`files.example:${port}`], lookup: told as unknown as typeof lookup });
  await expect(remote.fetch(`https://files.example:${port}/a`)).rejects.toMatchObject({
    code: "document-host-not-allowed",
  });
  expect([told.mock.calls.length, asked.length]).toEqual([1, 0]);
});
