import { buffer } from "node:stream/consumers";
import { expect, test } from "vitest";
import type { ImageUid, TokenUid } from "../../src/core/signing.ts";
import type { Provider } from "../../src/provider/client.ts";
import { fileToSend, IMAGE, PNG, TOKEN } from "./provider-samples.ts";
import { type Arrived, formOf, startServer } from "./provider-server.ts";

const BASE = "/oneshot/api/v1";
const ROOM = { username: "9001800", password: "token-password-canary", pin: "token-pin-canary" };
const image = { ...fileToSend("rubric ñ.png", "image/png", PNG), contentType: "image/png" } as const;
const old = (status: string, details: unknown) => ({ status, details });

test("a token is created for an environment, from what there is of the credentials", async () => {
  const body = { status: "success", message: "Token created", details: { token_uid: TOKEN } };
  const { provider, calls } = await startServer({ body });
  expect(await provider.createToken(ROOM, { env: "sandbox" })).toBe(TOKEN);
  expect(await provider.createToken({ username: "9001800" }, {})).toBe(TOKEN);
  expect(calls[0]).toMatchObject({ method: "POST", url: `${BASE}/token` });
  expect(calls.map(({ body: sent }) => JSON.parse(sent.toString()) as unknown)).toEqual([
    { ...ROOM, env: "sandbox" },
    { username: "9001800" },
  ]);
});

const OLD_UID = "fd6a21e6fb7d43b9893a520d67d6ff60";
const UIDS: [string, unknown, string | undefined][] = [
  ["the first generation's bare text", old("200 OK", OLD_UID), OLD_UID],
  ["a sentence in the place of data", old("200 OK", `Stored with uid '${OLD_UID}'`), OLD_UID],
  ["the message alone", { status: "success", message: `Stored with uid '${TOKEN}'` }, TOKEN],
  ["an array of one", { detail: [{ uid: TOKEN }] }, TOKEN],
  ["no uid", { status: "success", message: "stored" }, undefined],
  ["two uids", { details: [TOKEN, OLD_UID] }, undefined],
  ["two uids in a sentence", { status: "success", message: `${TOKEN} replaces ${OLD_UID}` }, undefined],
  ["a uid that climbs out of its path", { details: { token_uid: "../x", image_uid: "../x" } }, undefined],
  ["nothing", "", undefined],
];

test.each(UIDS)("the uid of a token and of an image is read from %s, or not guessed", async (_, body, uid) => {
  const { provider } = await startServer({ body: body as object });
  for (const made of [provider.createToken(ROOM, {}), provider.uploadImage(image)]) {
    if (uid !== undefined) expect(await made).toBe(uid);
    else await expect(made).rejects.toMatchObject({ code: "unexpected-answer", effect: "unknown" });
  }
});

test("of a token only the name is read, and whether there are secrets", async () => {
  const { provider, calls } = await startServer([
    { body: { status: "success", details: { username: "9001800", password: true, pin: false } } },
    { body: { username: 9001800, password: "a-secret-that-should-not-be-here" } },
  ]);
  expect(await provider.getToken(TOKEN)).toEqual({
    uid: TOKEN,
    username: "9001800",
    hasPassword: true,
    hasPin: false,
  });
  expect(await provider.getToken(TOKEN)).toEqual({
    uid: TOKEN,
    username: "9001800",
    hasPassword: true,
    hasPin: false,
  });
  expect(calls[0]).toMatchObject({ method: "GET", url: `${BASE}/token/${TOKEN}` });
});

test.each([
  ["nothing of a token", { status: "success", message: "hello" }],
  ["a list", { details: [] }],
  ["nothing", ""],
])("a token answered with %s is not made up", async (_, body) => {
  const { provider } = await startServer({ body });
  await expect(provider.getToken(TOKEN)).rejects.toMatchObject({ code: "unexpected-answer", effect: "none" });
});

test("a token that is in the provider's sentence is not in ours", async () => {
  const { provider } = await startServer({
    status: 404,
    body: { status: "error", message: `Token ${TOKEN} not found` },
  });
  const error: unknown = await provider.getToken(TOKEN).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({
    code: "not-found",
    message: "GET /token/{token_uid} answered 404: Token [removed] not found",
  });
});

const ENTRY = { username: "1125824", password: true, pin: true };
const IS = { username: "1125824", hasPassword: true, hasPin: true };
test.each([
  ["an object by uid", { details: { [TOKEN]: ENTRY } }, [{ uid: TOKEN, ...IS }]],
  ["a remark beside them", { details: { [TOKEN]: { ...ENTRY, NOTE: "demo" }, NOTE: "x" } }, [{ uid: TOKEN, ...IS }]],
  ["an array", { detail: [{ token_uid: TOKEN, ...ENTRY }, { uid: OLD_UID }] }, [{ uid: TOKEN, ...IS }]],
  ["no envelope", { [OLD_UID]: ENTRY }, [{ uid: OLD_UID, ...IS }]],
  ["none", { status: "success", details: {} }, []],
  ["a remark alone", { status: "success", details: { NOTE: "x" } }, []],
  ["none in an array", { status: "success", details: [] }, []],
])("tokens are read from a list in the form of %s", async (_, body, tokens) => {
  const { provider, calls } = await startServer({ body });
  expect(await provider.listTokens()).toEqual(tokens);
  expect(calls[0]).toMatchObject({ method: "GET", url: `${BASE}/tokens` });
});

test("an image is sent as the part that the form has for it", async () => {
  const { provider, calls } = await startServer({
    body: { status: "success", message: `Image uploaded with uid '${IMAGE}'`, details: { image_uid: IMAGE } },
  });
  expect(await provider.uploadImage(image)).toBe(IMAGE);
  expect(calls[0]).toMatchObject({ method: "POST", url: `${BASE}/image` });
  const { image: part } = formOf(calls[0] as Arrived);
  expect(part?.bytes).toEqual(PNG);
  expect(part?.head).toContain('name="image"; filename="rubric ñ.png"\r\nContent-Type: image/png');
});

test("an image is handed out when it is a PNG, whatever its content type says", async () => {
  const { provider, calls } = await startServer([
    { headers: { "content-type": "text/plain" }, body: PNG },
    { headers: { "content-type": "image/png" }, body: Buffer.from("GIF89a and so on") },
    { headers: { "content-type": "image/png" }, body: '{"status":"error","message":"Image with uid x not found"}' },
    { headers: { "content-length": String(1 << 30), "content-type": "image/png" }, body: PNG },
  ]);
  expect(await buffer((await provider.getImage(IMAGE)).body)).toEqual(PNG);
  expect(calls[0]).toMatchObject({ method: "GET", url: `${BASE}/image/${IMAGE}` });
  await expect(provider.getImage(IMAGE)).rejects.toMatchObject({ code: "unexpected-answer" });
  await expect(provider.getImage(IMAGE)).rejects.toMatchObject({ code: "not-found" });
  await expect(provider.getImage(IMAGE)).rejects.toMatchObject({ code: "too-large" });
});

const SHOWN = {
  upload_date: "2021-06-03 15:18:20.671054",
  ext: ".png",
  size: [600, 400],
  mime: "image/png",
  filename: "rubric.png",
};
test("images are read from a list, and what is strange about one is left out", async () => {
  const { provider, calls } = await startServer({
    body: { status: "200 OK", details: { [IMAGE]: SHOWN, [OLD_UID]: { ext: ".png", size: [0, "x"], mime: null } } },
  });
  expect(await provider.listImages()).toEqual([
    {
      uid: IMAGE,
      filename: "rubric.png",
      mime: "image/png",
      width: 600,
      height: 400,
      uploadDate: "2021-06-03 15:18:20.671054",
    },
    { uid: OLD_UID },
  ]);
  expect(calls[0]).toMatchObject({ method: "GET", url: `${BASE}/images` });
});

const LISTS: [string, (provider: Provider) => Promise<unknown>][] = [
  ["tokens", (provider) => provider.listTokens()],
  ["images", (provider) => provider.listImages()],
];

test.each(LISTS)(
  "a list of %s that says that there are none is empty, and one that is not there is none",
  async (_, list) => {
    for (const [reply, outcome] of [
      [{ status: 404, body: { status: "error", message: "No images found" } }, []],
      [{ status: 400, body: old("404 Not Found", "No tokens found") }, []],
      [{ status: 404, body: { detail: "Not Found" } }, "path-unknown"],
      [{ status: 404, body: "<html>nginx</html>" }, "call-unknown"],
      [{ body: { status: "success", message: "hello" } }, "unexpected-answer"],
      [{ body: { details: { a: 1, b: {} } } }, "unexpected-answer"],
      [{ body: { details: "none" } }, "unexpected-answer"],
    ] as const) {
      const { provider } = await startServer(reply);
      expect(await list(provider).catch((error: unknown) => (error as { code: string }).code)).toEqual(outcome);
    }
  },
);

const DELETES: [string, string, (provider: Provider) => Promise<unknown>][] = [
  ["a token", `/token/${TOKEN}`, (provider) => provider.deleteToken(TOKEN)],
  ["an image", `/image/${IMAGE}`, (provider) => provider.deleteImage(IMAGE)],
  ["every image", "/images", (provider) => provider.deleteImages()],
];

test.each(DELETES)("deleting %s ends as deleted, or as absent when it is not there", async (_, path, remove) => {
  for (const [reply, outcome] of [
    [{ body: { status: "success", message: "Image deleted" } }, "deleted"],
    [{ body: "" }, "deleted"],
    [{ status: 404, body: { status: "error", message: "Image with uid x not found on disk" } }, "absent"],
    [{ status: 400, body: old("404 Not Found", "Token not found") }, "absent"],
  ] as const) {
    const { provider, calls } = await startServer(reply);
    expect(await remove(provider)).toBe(outcome);
    expect(calls.map(({ method, url }) => `${method} ${url}`)).toEqual([`DELETE ${BASE}${path}`]);
  }
});

test.each(DELETES)(
  "deleting %s is believed to be done without a word about it only where lists are answered",
  async (_, __, remove) => {
    const bare = { status: 404, body: { detail: "Not Found" } };
    for (const [list, outcome] of [
      [{ status: 200, body: { details: {} } }, "absent"],
      [{ status: 404, body: { message: "No images found" } }, "absent"],
      [bare, "path-unknown"],
      [{ status: 404, body: "<html>nginx</html>" }, "call-unknown"],
      [{ status: 503, body: "" }, "provider-error"],
    ] as const) {
      const { provider } = await startServer((response, { method }) => {
        const { status, body } = method === "GET" ? list : bare;
        response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
      });
      expect(await remove(provider).catch((error: unknown) => (error as { code: string }).code)).toBe(outcome);
    }
  },
);

test("a uid that could change the path is refused before it is sent", async () => {
  const { provider, calls } = await startServer({ body: "" });
  await expect(provider.getToken("" as TokenUid)).rejects.toMatchObject({ code: "invalid-input" });
  await expect(provider.deleteImage(".." as ImageUid)).rejects.toMatchObject({ code: "invalid-input" });
  expect(calls).toEqual([]);
});
