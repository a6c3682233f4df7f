import { afterAll, beforeAll, expect, test } from "vitest";
import { RAO, samplePdf, SIGNER, startHouse } from "./house.ts";
import type { House } from "./house.ts";

let house: House;
beforeAll(async () => void (house = await startHouse()));
afterAll(() => house.simulator.close());

const refused = (message: string) => ({ status: "error", message });

test.each([
  ["no phone", { mobile_phone_number: undefined }, 400, "Missing required parameters"],
  ["no profile", { profile: "" }, 400, "Missing required parameters"],
  [
    "a phone without prefix",
    { mobile_phone_number: "699999999" },
    400,
    "Please use the mobile phone number with an international prefix",
  ],
  ["a broken address", { email: "nobody" }, 400, "Enter a valid email address"],
  ["an unknown environment", { env: "moon" }, 400, "Environment moon does not exist"],
  [
    "a billing password that is not Base64",
    { billing_password: "p@ss" },
    500,
    "Billing credentials not valid. Please check if they are base64 encoded",
  ],
])("a creation with %s is refused", async (_what, change, status, message) => {
  const answer = await house.call("POST", "/videoid", { ...SIGNER, ...change });
  expect(answer).toMatchObject({ status, body: refused(message) });
});

test("a body of the wrong type, or no JSON at all, is told apart from a missing field", async () => {
  expect((await house.call("POST", "/videoid", { ...SIGNER, email: 7 })).status).toBe(422);
  expect((await house.call("POST", "/videoid", [1])).status).toBe(422);
  const broken = await fetch(`${house.simulator.url}/videoid`, {
    method: "POST",
    body: "{",
    headers: { "content-type": "application/json" },
  });
  expect(broken.status).toBe(400);
  expect(await broken.json()).toMatchObject({
    status: "Invalid JSON",
    details: expect.stringContaining("Could not parse JSON body"),
  });
  const form = await fetch(`${house.simulator.url}/videoid`, { method: "POST", body: new URLSearchParams(SIGNER) });
  expect(form.status).toBe(422);
});

test("unknown numbers and routes answer as documented", async () => {
  expect(await house.call("GET", "/request/1")).toMatchObject({
    status: 404,
    body: refused("Request not found. Make sure the upload directory is correct."),
  });
  expect(await house.call("POST", "/otp/1")).toMatchObject({
    status: 404,
    body: refused("Request 1 not found. Cannot send OTP secret"),
  });
  expect(await house.call("POST", "/sign/1", { secret: "1" })).toMatchObject({
    status: 404,
    body: refused("Request 1 not found. Cannot sign documents"),
  });
  expect(await house.upload(1, { file: await samplePdf() })).toMatchObject({
    status: 404,
    body: refused("Cannot upload document: Request 1 not found on disk"),
  });
  expect(await house.call("GET", "/request/abc")).toMatchObject({
    status: 422,
    body: { detail: [{ loc: ["path", "request_pk"] }] },
  });
  expect(await house.call("GET", "/nowhere")).toMatchObject({ status: 404, body: { detail: "Not Found" } });
  expect(await house.call("DELETE", "/otp/1")).toMatchObject({ status: 405, body: { detail: "Method Not Allowed" } });
  expect((await house.call("GET", "/request/1/")).body).toMatchObject(
    refused("Request not found. Make sure the upload directory is correct."),
  );
});

test("an approval needs complete credentials and a request in review", async () => {
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  const path = `/videoid/${videoidPk}/approve`;
  const { rao: _rao, ...withoutRao } = RAO;
  const incomplete = refused("Missing required parameters: incomplete RAO's credentials");
  expect(await house.call("POST", path, withoutRao)).toMatchObject({ status: 400, body: incomplete });
  expect(await house.call("POST", path, { username: "1", rao: 1 })).toMatchObject({ status: 400, body: incomplete });
  expect(await house.call("POST", path, RAO)).toMatchObject({ status: 412, body: refused("Invalid request status") });
  house.simulator.identify(pk, "complete");
  expect((await house.call("POST", path, RAO)).status).toBe(200);
  expect((await house.call("POST", path, RAO)).status).toBe(412);
  expect((await house.call("POST", `/videoid/${pk}/approve`, RAO)).status).toBe(404);
});

test("known credentials are insisted upon", async () => {
  const { rao: _rao, ...known } = RAO;
  const strict = await startHouse({
    credentials: {
      rao: known,
      tokens: ["known-token"],
      billing: { username: SIGNER.billing_username, password: "secret" },
      registrationAuthorities: ["44"],
    },
  });
  try {
    expect(await strict.call("POST", "/videoid", { ...SIGNER, billing_password: "b3RoZXI=" })).toMatchObject({
      status: 500,
      body: { message: expect.stringContaining("remaining credit") },
    });
    expect(await strict.call("POST", "/videoid", { ...SIGNER, registration_authority: 45 })).toMatchObject({
      status: 404,
      body: refused("Registration Authority not found"),
    });
    const { request_pk: pk, videoid_pk: videoidPk } = await strict.create();
    strict.simulator.identify(pk, "complete");
    expect(await strict.call("POST", `/videoid/${videoidPk}/approve`, { ...RAO, pin: "0" })).toMatchObject({
      status: 403,
      body: refused("Invalid RAO credentials"),
    });
    expect((await strict.call("POST", `/videoid/${videoidPk}/approve`, { token: "other", rao: 1 })).status).toBe(403);
    expect((await strict.call("POST", `/videoid/${videoidPk}/approve`, { token: "known-token", rao: 1 })).status).toBe(
      200,
    );
    expect((await strict.call("POST", "/token", { username: "nobody" })).status).toBe(404);
  } finally {
    await strict.simulator.close();
  }
});

test("a refusal needs a reason and ends the request", async () => {
  const { request_pk: pk, videoid_pk: videoidPk } = await house.create();
  house.simulator.identify(pk, "complete");
  expect(await house.call("POST", `/videoid/${videoidPk}/refuse`, { ...RAO, reason: " " })).toMatchObject({
    status: 400,
    body: refused("No reason specified"),
  });
  expect((await house.call("POST", `/videoid/${videoidPk}/refuse`, { ...RAO, reason: "not readable" })).status).toBe(
    200,
  );
  expect(house.simulator.statusOf(pk)).toBe("CANCELLED");
  expect((await house.call("POST", `/videoid/${videoidPk}/approve`, RAO)).status).toBe(412);
  expect((await house.call("POST", `/otp/${pk}`)).status).toBe(412);
});

test("an unfinished identification can be completed, a failed one cannot", async () => {
  const [one, two] = [await house.create(), await house.create()];
  expect(house.simulator.identify(one.request_pk, "incomplete")).toBe(true);
  expect(house.simulator.statusOf(one.request_pk)).toBe("VIDEOINCOMPLETE");
  expect(house.simulator.identify(one.request_pk, "complete")).toBe(true);
  expect(house.simulator.identify(two.request_pk, "fail")).toBe(true);
  expect(house.simulator.statusOf(two.request_pk)).toBe("VIDEOERROR");
  expect(house.simulator.identify(two.request_pk, "complete")).toBe(false);
});

test("only PDFs are taken, ten in a call, and a refused call leaves nothing behind", async () => {
  const { pk } = await house.ready();
  const file = await samplePdf();
  expect(await house.upload(pk, { file, file2: Buffer.from("plain text") })).toMatchObject({
    status: 415,
    body: { message: expect.stringContaining("Unsupported file type") },
  });
  const eleven = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [i === 0 ? "file" : `file${i + 1}`, file]));
  expect(await house.upload(pk, eleven)).toMatchObject({
    status: 400,
    body: refused(`Maximum number of document reached for Request ${pk}`),
  });
  expect((await house.upload(pk, { document: file })).status).toBe(422);
  expect(await house.call("DELETE", `/document/${pk}`)).toMatchObject({
    status: 404,
    body: refused("No documents found for specified Request"),
  });
  expect(house.effects(pk)).not.toContain("upload");
});

test("a second code within a minute is refused, and a new one voids the former", async () => {
  const { pk, secret } = await house.armed(await samplePdf());
  expect(await house.call("POST", `/otp/${pk}`)).toMatchObject({
    status: 412,
    body: refused("Error occured during OTP generation: Otp generated less than a minute ago"),
  });
  house.simulator.advanceClock(60_000);
  expect((await house.call("POST", `/otp/${pk}`)).status).toBe(200);
  const wrong = house.simulator.codeOf(pk) === secret ? "none" : secret;
  expect(await house.call("POST", `/sign/${pk}`, { secret: wrong })).toMatchObject({
    status: 403,
    body: refused("Confirmation Code invalid"),
  });
  expect((await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) })).status).toBe(200);
});

test("a code dies of old age, and of three wrong attempts", async () => {
  const aged = await house.armed(await samplePdf());
  house.simulator.advanceClock(300_001);
  expect((await house.call("POST", `/sign/${aged.pk}`, { secret: aged.secret })).status).toBe(403);
  const guessed = await house.armed(await samplePdf());
  for (let i = 0; i < 3; i++)
    expect((await house.call("POST", `/sign/${guessed.pk}`, { secret: "wrong" })).status).toBe(403);
  expect((await house.call("POST", `/sign/${guessed.pk}`, { secret: guessed.secret })).status).toBe(403);
  house.simulator.advanceClock(60_000);
  await house.call("POST", `/otp/${guessed.pk}`);
  expect((await house.call("POST", `/sign/${guessed.pk}`, { secret: house.simulator.codeOf(guessed.pk) })).status).toBe(
    200,
  );
});

test("a request is signed once, even when two calls ask for it at the same time", async () => {
  const { pk, secret } = await house.armed(await samplePdf());
  expect(await house.call("POST", `/sign/${pk}`, {})).toMatchObject({
    status: 400,
    body: refused("Missing required parameter: 'secret'"),
  });
  const answers = await Promise.all([1, 2].map(() => house.call("POST", `/sign/${pk}`, { secret })));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 412]);
  expect(answers.find(({ status }) => status === 412)?.body).toEqual(refused("Request already in ISSUED status"));
  expect(house.effects(pk).filter((effect) => effect === "sign")).toHaveLength(1);
});

test("what is not approved has no contract, no code, and is not signed", async () => {
  const { request_pk: pk } = await house.create();
  expect((await house.call("GET", `/contract/${pk}`)).status).toBe(404);
  expect(await house.call("POST", `/otp/${pk}`)).toMatchObject({
    status: 412,
    body: refused("Error occured during OTP generation: Invalid request status"),
  });
  expect(await house.call("POST", `/sign/${pk}`, { secret: "1" })).toMatchObject({
    status: 412,
    body: refused("Invalid request status"),
  });
});

test("a cancelled request loses its documents and takes no more", async () => {
  const { pk, uids } = await house.armed(await samplePdf());
  expect(await house.call("DELETE", `/request/${pk}`)).toMatchObject({
    status: 200,
    body: { message: "Request directory removed successfully" },
  });
  expect((await house.call("GET", `/document/${pk}/${uids[0]}`)).status).toBe(404);
  expect((await house.upload(pk, { file: await samplePdf() })).status).toBe(404);
  expect((await house.call("DELETE", `/request/${pk}`)).status).toBe(412);
});

test("an update needs all its fields and leaves what the identification found", async () => {
  const { request_pk: pk } = await house.create();
  const { scratchcard } = (await house.call("GET", `/request/${pk}`)).body.details as { scratchcard: string };
  const facts = {
    scratchcard,
    email: "new@example.com",
    profile: "PFnubeNC",
    registration_authority: "44",
    country_name: "ES",
  };
  expect((await house.call("PUT", `/request/${pk}`, { ...facts, country_name: undefined })).status).toBe(422);
  expect((await house.call("PUT", `/request/${pk}`, { ...facts, given_name: "Ana" })).body).toEqual({
    status: "success",
    message: "Request updated",
  });
  expect((await house.call("GET", `/request/${pk}`)).body).toMatchObject({
    details: { email: "new@example.com", given_name: "Ana" },
  });
  house.simulator.identify(pk, "complete");
  expect((await house.call("PUT", `/request/${pk}`, { ...facts, given_name: "Eva" })).status).toBe(412);
});

test("errors come in the style that is set, and an unknown request can hide in a 400", async () => {
  house.simulator.set({ errorStyle: "fastapi" });
  expect((await house.call("GET", "/request/1")).body).toEqual({
    detail: "Request not found. Make sure the upload directory is correct.",
  });
  house.simulator.set({ errorStyle: "old" });
  expect((await house.call("POST", "/otp/1")).body).toEqual({
    status: "404 Not Found",
    details: "Request 1 not found. Cannot send OTP secret",
  });
  house.simulator.set({ errorStyle: "status", notFoundAs400: true });
  expect(await house.call("GET", "/contract/1")).toMatchObject({
    status: 400,
    body: { status: "404 Not Found", details: "Request 1 not found" },
  });
  house.simulator.set({ notFoundAs400: false });
});

test("one form of retrieval can be missing like a route that does not exist", async () => {
  const { pk, uids, secret } = await house.armed(await samplePdf());
  await house.call("POST", `/sign/${pk}`, { secret });
  const [seed, reference] = [`/document/${pk}/signed/${uids[0]}`, `/document/${pk}/${uids[0]}?document_type=signed`];
  house.simulator.set({ retrieval: "reference" });
  expect([(await house.call("GET", seed)).status, (await house.call("GET", reference)).status]).toEqual([404, 200]);
  house.simulator.set({ retrieval: "seed" });
  expect([(await house.call("GET", seed)).status, (await house.call("GET", reference)).status]).toEqual([200, 405]);
  house.simulator.set({ retrieval: "both" });
});
