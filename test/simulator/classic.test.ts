import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { JPEG, PERSON, RAO, samplePdf, SIGNER, startHouse } from "./house.ts";
import type { House } from "./house.ts";

let house: House;
beforeAll(async () => void (house = await startHouse()));
afterEach(() => house.simulator.set({ refuseCreation: "no", fieldErrors: "optimizer", approvalFailure: "created" }));
afterAll(() => house.simulator.close());

const refused = (message: string) => ({ status: "error", message });
const asObject = (details: object) => ({ status: "500 Internal Server Error", details });

test("a classic request is registered and approved in one call, and then signed without any video", async () => {
  const created = await house.classic();
  expect(created).toMatchObject({ status: 200, body: { status: "success", details: { status: "ENROLLREADY" } } });
  const { pk, asyncmode } = created.body.details as { pk: number; asyncmode: boolean };
  expect(asyncmode).toBe(false);
  expect(created.body["message"]).toBe(`Request created with pk ${pk}`);
  expect((await house.call("GET", `/request/${pk}`)).body.details).toMatchObject({
    ...PERSON,
    status: "ENROLLREADY",
    videoid_mode: false,
    email: SIGNER.email,
  });
  const { body } = await house.upload(pk, { file: await samplePdf() });
  const { uid } = (body as { detail: { uid: string } }).detail;
  await house.call("POST", `/otp/${pk}`);
  expect((await house.call("POST", `/sign/${pk}`, { secret: house.simulator.codeOf(pk) })).status).toBe(200);
  expect((await house.download(`/document/${pk}/${uid}?document_type=signed`)).subarray(0, 5).toString()).toBe("%PDF-");
  expect(house.effects(pk)).toEqual(["create", "approve", "upload", "otp", "sign", "download-signed"]);
  expect(house.simulator.ledger.find((entry) => entry.request_pk === pk)).toMatchObject({
    reason: "classic",
    phone_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
});

const TOKEN_UNKNOWN = "Invalid RAO Credentials";

test.each([
  ["no phone", { mobile_phone_number: undefined }, 400, "Missing parameter: mobile_phone_number required"],
  [
    "a phone without prefix",
    { mobile_phone_number: "699999999" },
    400,
    "Please use the mobile phone number with an international prefix",
  ],
  ["a broken address", { email: "nobody" }, 400, "Enter a valid email address"],
  ["an unknown environment", { env: "moon" }, 400, "Environment moon does not exist"],
  [
    "an unknown kind of document",
    { id_document_type: "XYZ" },
    400,
    "The id_document_type specified is not valid. Valid options are IDC, PAS, PNO, TIN, CI, CE",
  ],
  [
    "no picture of the back",
    { document_rear: undefined },
    400,
    "Error occured during request approval: Missing required docs",
  ],
  [
    "a phone that cannot be called",
    { mobile_phone_number: "+34 12" },
    412,
    "Error occured during request approval: Invalid request fields: mobile_phone_number",
  ],
  ["no officer", { username: undefined }, 400, "Missing required parameters: incomplete RAO's credentials"],
  [
    "a billing password that is not Base64",
    { billing_password: "p@ss" },
    500,
    "Billing credentials not valid. Please check if they are base64 encoded",
  ],
])("a classic creation with %s is refused as documented", async (_what, change, status, message) => {
  expect(await house.classic(change)).toMatchObject({ status, body: refused(message) });
});

test.each([
  ["is missing", { email: undefined }, { email: ["This field is required"] }],
  ["is blank", { surname_1: " " }, { surname_1: ["This field may not be blank"] }],
  [
    "is no country",
    { id_document_country: "ESX" },
    { id_document_country: ["'ESX' is not a valid ISO 3166-1 alpha-2 country code"] },
  ],
])("a field that %s comes back as HTTP 500 with an object", async (_what, change, details) => {
  expect(await house.classic(change)).toMatchObject({ status: 500, body: asObject(details) });
});

test("a broken address can come back as an object, too", async () => {
  house.simulator.set({ fieldErrors: "upstream" });
  expect(await house.classic({ email: "nobody" })).toMatchObject({
    status: 500,
    body: asObject({ email: ["Enter a valid email address"] }),
  });
});

test("pictures must be PNG or JPEG, and a refused creation keeps none", async () => {
  const folder = join(house.simulator.dataDir, "identity");
  const before = readdirSync(folder).length;
  expect(await house.classic({ document_owner: Buffer.from("GIF89a") })).toMatchObject({
    status: 415,
    body: { message: expect.stringContaining("Unsupported file type") },
  });
  await house.classic({ email: undefined });
  expect(readdirSync(folder)).toHaveLength(before);
  expect((await house.classic({ document_owner: JPEG, extra_document: Buffer.from("a note") })).status).toBe(200);
  expect(readdirSync(folder)).toHaveLength(before + 4);
});

test("a request whose approval failed stays registered, or leaves nothing, as the switch says", async () => {
  const before = house.effects().length;
  await house.classic({ document_front: undefined });
  expect(house.effects().slice(before)).toEqual(["create"]);
  const pk = house.simulator.ledger.at(-1)?.request_pk ?? 0;
  expect(house.simulator.statusOf(pk)).toBe("CREATED");
  house.simulator.set({ approvalFailure: "nothing" });
  await house.classic({ document_front: undefined });
  expect(house.effects()).toHaveLength(before + 1);
});

test.each([
  ["no-credit", 500, "Cannot check the remaining credit for the billing user. Please check the credentials"],
  ["certificates", 403, "You do not have permission to perform this action. Check your authentication certificates"],
  ["profile", 403, "You do not have permission to perform this action"],
  ["configuration", 500, "Configuration error: Please check the certificates path for the environment selected"],
  ["unknown-authority", 404, "Registration Authority not found"],
] as const)("every creation is refused for the reason %s", async (refuseCreation, status, message) => {
  house.simulator.set({ refuseCreation });
  expect(await house.classic()).toMatchObject({ status, body: refused(message) });
  expect(await house.call("POST", "/videoid", SIGNER)).toMatchObject({ status, body: refused(message) });
});

test.each(["billing_username", "billing_password"])("without %s nobody's credit can be checked", async (name) => {
  const message = "Cannot check the remaining credit for the billing user. Please check the credentials";
  expect(await house.classic({ [name]: undefined })).toMatchObject({ status: 500, body: refused(message) });
});

test("billing may stand in the Optimizer's settings instead", async () => {
  const other = await startHouse({ settingsApi: true });
  try {
    const without = { billing_username: undefined, billing_password: undefined };
    expect((await other.classic(without)).status).toBe(500);
    const { billing_username, billing_password } = SIGNER;
    await other.call("POST", "/settings", { billing: { billing_username, billing_password } });
    expect((await other.classic(without)).status).toBe(200);
  } finally {
    await other.simulator.close();
  }
});

test("a request says who registered it, and who approved it once somebody has", async () => {
  const { request_pk, videoid_pk } = await house.create();
  const read = async () => (await house.call("GET", `/request/${request_pk}`)).body.details;
  const user = { request: request_pk, permission_profile: expect.any(String), registration_authority: 44 };
  expect(await read()).toMatchObject({ registering_user: user });
  expect(await read()).not.toHaveProperty("approving_rao");
  house.simulator.identify(request_pk, "complete");
  await house.call("POST", `/videoid/${videoid_pk}/approve`, { ...RAO, rao: "77" });
  const certificate = { status: "VALID", valid: true, subject: expect.stringContaining("Simulated Officer 77") };
  expect(await read()).toMatchObject({ approving_user: user, approving_rao: { pk: 77, certificate } });
});

test("an Optimizer that is not set up refuses what goes upstream, and nothing else", async () => {
  const pk = await house.classicPk();
  house.simulator.set({ misconfigured: true });
  try {
    expect((await house.call("POST", "/videoid", SIGNER)).status).toBe(500);
    expect((await house.call("GET", `/request/${pk}`)).status).toBe(200);
  } finally {
    house.simulator.set({ misconfigured: false });
  }
  expect((await house.call("POST", "/videoid", SIGNER)).status).toBe(200);
});

test("the framework's schema check is the newest generation's alone", async () => {
  house.simulator.set({ schemaCheck: "framework" });
  try {
    expect(await house.call("POST", "/token", {})).toMatchObject({
      status: 422,
      body: { detail: [{ type: "missing", loc: ["body", "username"] }] },
    });
    expect((await house.call("POST", "/api/v1/token", {})).status).toBe(400);
    expect((await house.call("GET", "/token/7d3b0a523c444a579a0b5d5d7a0c1e11")).status).toBe(404);
  } finally {
    house.simulator.set({ schemaCheck: "published" });
  }
});

test("a VideoID creation has reasons of its own", async () => {
  house.simulator.set({ refuseCreation: "videoid-disabled" });
  expect(await house.call("POST", "/videoid", SIGNER)).toMatchObject({
    status: 400,
    body: refused("Videoid not enabled for Registration Authority 44"),
  });
  house.simulator.set({ refuseCreation: "no-permission" });
  expect(await house.call("POST", "/videoid", SIGNER)).toMatchObject({
    status: 403,
    body: { message: expect.stringContaining('{"detail":"You do not have permission') },
  });
});

test("known credentials of an officer are insisted upon, each with its answer", async () => {
  const { rao: _rao, ...known } = RAO;
  const strict = await startHouse({ credentials: { rao: known, tokens: ["known"] } });
  try {
    expect(await strict.classic({ pin: "0" })).toMatchObject({
      status: 404,
      body: refused("Error getting RAO's id. Make sure the credentials are correct"),
    });
    expect(await strict.classic({ token: "other" })).toMatchObject({ status: 403, body: refused(TOKEN_UNKNOWN) });
    const byToken = { username: undefined, password: undefined, pin: undefined, token: "known" };
    expect((await strict.classic(byToken)).status).toBe(200);
    expect((await strict.classic()).status).toBe(200);
    expect((await strict.call("GET", "/tokens")).body).toMatchObject({ details: { known: { NOTE: "Demo token" } } });
    expect((await strict.call("DELETE", "/token/known")).status).toBe(403);
    strict.simulator.set({ raoCredentials: "refused" });
    expect((await strict.classic()).status).toBe(404);
  } finally {
    await strict.simulator.close();
  }
});

test("the number of a new request comes in each of the places where it may be", async () => {
  const details = async (createAnswer: "pk" | "request_pk" | "bare" | "message") => {
    house.simulator.set({ createAnswer });
    const { body } = await house.classic();
    const [pk] = /\d+$/.exec(String(body["message"])) ?? [];
    return { details: body.details as unknown, pk: Number(pk) };
  };
  const byName = await details("request_pk");
  expect(byName.details).toEqual({ request_pk: byName.pk, status: "ENROLLREADY", asyncmode: false });
  const bare = await details("bare");
  expect(bare.details).toBe(bare.pk);
  expect((await details("message")).details).toEqual({ status: "ENROLLREADY", asyncmode: false });
  house.simulator.set({ createAnswer: "pk" });
});

test("what a creation leaves out comes from the Optimizer's settings, and the last caller can become the default", async () => {
  const { registration_authority: _ra, profile: _profile, ...rest } = SIGNER;
  const other = await startHouse({ settingsApi: true });
  try {
    expect((await other.call("POST", "/videoid", rest)).status).toBe(400);
    const request = { default_ra: 44, default_profile: "PFnubeNC" };
    expect(await other.call("POST", "/settings", { request, general: { usepdfclean: "true" } })).toMatchObject({
      body: { message: "Settings saved successfully" },
    });
    expect((await other.call("GET", "/settings")).body).toMatchObject({
      details: { request: { default_ra: "44" }, general: { usepdfclean: true, rootstore: "uanataca" } },
    });
    const { body } = await other.call("POST", "/videoid", rest);
    const { request_pk: pk } = (body as { detail: { request_pk: number } }).detail;
    expect((await other.call("GET", `/request/${pk}`)).body).toMatchObject({ details: { profile: "PFnubeNC" } });
    other.simulator.set({ lastCallerWins: true });
    await other.call("POST", "/videoid", { ...SIGNER, profile: "PFnubeSOSCiudadano" });
    expect((await other.call("GET", "/settings")).body).toMatchObject({
      details: { request: { default_profile: "PFnubeSOSCiudadano" } },
    });
    other.simulator.set({ settingsApi: false });
    expect((await other.call("GET", "/settings")).status).toBe(404);
  } finally {
    await other.simulator.close();
  }
});
