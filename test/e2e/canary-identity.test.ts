import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Canary, dumpRedis, isThere, leaks, type Place, readFolder } from "../helpers/canaries.ts";
import { readJson, samplePdf, SIGNER, startHouse } from "../helpers/house.ts";
import { jpeg, mp4, png } from "../helpers/identity.ts";

const unique = () => randomBytes(6).toString("hex");

/** What was read off the identity document of a signer whom we identified, and what that signer agreed to. */
const OCR = {
  given_name: `Ocr Añá ${unique()}`,
  surname_1: `Ocr Primera ${unique()}`,
  surname_2: `Ocr Segunda ${unique()}`,
  serial_number: `OCR-${unique()}`,
  email: `ocr.${unique()}@canary.example.com`,
};
const ACCEPTANCE = {
  description: `terms accepted ${unique()}`,
  "url-web-videoid": `https://canary.example.com/${unique()}`,
  "user-agent": `Canary/${unique()}`,
};
/** The files that show who somebody is: what they are called, and what is in them. */
const PICTURES = {
  document_front: { name: `DNI de Ana ${unique()}.jpg`, marker: `front-${unique()}` },
  document_rear: { name: `Reverso ${unique()}.png`, marker: `rear-${unique()}` },
  document_owner: { name: `Ana selfie ${unique()}.jpg`, marker: `owner-${unique()}` },
  video: { name: `Película ${unique()}.mp4`, marker: `film-${unique()}` },
};
type Shows = keyof typeof PICTURES;
const ALL = Object.keys(PICTURES) as Shows[];
const SIDES: Shows[] = ["document_front", "document_rear"];

const CANARIES: Canary[] = [
  // The provider makes the certificate out to whom it was told of.
  ...Object.entries(OCR).map(([what, value]) => ({
    what: `${what} off the document`,
    value,
    may: what === "email" ? ["manifest"] : ["manifest", "document"],
  })),
  ...Object.entries(ACCEPTANCE).map(([what, value]) => ({
    what: `${what} of the acceptance`,
    value,
    may: ["manifest"],
  })),
  ...Object.entries(PICTURES).flatMap(([role, { name, marker }]) => [
    // Told to whoever sent it, when something is the matter with it; and kept as long as it may have to be given back.
    { what: `the name of ${role}`, value: name, may: ["problem", "note", "status", "claim", "manifest", "picture"] },
    { what: `the content of ${role}`, value: marker, may: ["picture", "shown"] },
  ]),
];

function bytesOf(role: Shows): Buffer {
  const { marker } = PICTURES[role];
  if (role === "video") return Buffer.concat([mp4(), Buffer.from(marker)]);
  return role === "document_rear" ? png(marker) : jpeg(marker);
}

/** What a provider says that repeats all it was sent. */
const repeated = (sent: Record<string, string>, ...pictures: Shows[]) => ({
  status: "error",
  message: `Rejected: ${Object.values(sent).join(" | ")}`,
  details: { ...sent, pictures: pictures.map((role) => bytesOf(role).toString("base64")) },
});

/** What a file below DATA_DIR is. */
function kindOf(path: string): string {
  if (/\/(?:enclosure-\d|document_\w+|video)$|\.(?:jpg|png|mp4)$/.test(path)) return "picture";
  if (path.endsWith("request.json")) return "manifest";
  if (path.endsWith("claim.json")) return "claim";
  if (/\.error\.(?:txt|json)$/.test(path)) return "note";
  return path.endsWith(".pdf") ? "document" : (path.split("/")[0] ?? "");
}

test(
  "what shows who a signer is, and what was read off it, is nowhere it does not belong, whatever goes wrong",
  { timeout: 120_000 },
  async () => {
    const house = await startHouse({ settings: { LOG_LEVEL: "trace" } });
    await house.app.startInbox();
    const places: Place[] = [];
    const look = async () => {
      places.push(...readFolder(house.dataDir, kindOf), ...(await dumpRedis(house.app.redis)));
    };
    const bearer = { authorization: `Bearer ${house.keyRing.apiKeys[0]?.secret ?? ""}` };
    async function call(
      kind: string,
      path: string,
      body?: FormData | object,
    ): Promise<{ status: number; text: string }> {
      const isForm = body instanceof FormData;
      const answer = await fetch(`${house.api}${path}`, {
        method: body === undefined ? "GET" : "POST",
        headers: { ...bearer, ...(body !== undefined && !isForm && { "content-type": "application/json" }) },
        ...(body !== undefined && { body: isForm ? body : JSON.stringify(body) }),
      });
      const bytes = Buffer.from(await answer.arrayBuffer());
      const head = `${answer.status} ${JSON.stringify([...answer.headers])}\n`;
      places.push({ kind, where: `${path} ${answer.status}`, content: Buffer.concat([Buffer.from(head), bytes]) });
      return { status: answer.status, text: bytes.toString() };
    }
    const identityOf = (roles: readonly Shows[]) =>
      Object.fromEntries(roles.map((role) => [role, PICTURES[role].name]));
    const person = {
      ...SIGNER,
      given_name: OCR.given_name,
      surname_1: OCR.surname_1,
      serial_number: OCR.serial_number,
    };
    const classicSigner = { ...person, id_document_type: "IDC", id_document_country: "ES" };
    async function form(manifest: object, sent: readonly Shows[]): Promise<FormData> {
      const made = new FormData();
      made.set("manifest", JSON.stringify(manifest));
      made.append("file", new Blob([new Uint8Array(await samplePdf())]), "a.pdf");
      for (const role of sent) made.append("enclosure", new Blob([new Uint8Array(bytesOf(role))]), PICTURES[role].name);
      return made;
    }
    async function handIn(manifest: object, sent: readonly Shows[]): Promise<string> {
      const { status, text } = await call("accepted", "/v1/requests", await form(manifest, sent));
      expect(status, text).toBe(202);
      return (JSON.parse(text) as { id: string }).id;
    }

    // On film, with a provider that first repeats all of it; the officer looks at everything.
    const filmed = {
      workflow: "videoid-external",
      signer: SIGNER,
      identity: { ...identityOf(ALL), ocr_data: OCR, acceptance: ACCEPTANCE, security_checks: { liveliness: true } },
    };
    house.simulator.fault({
      operation: "uploadEvidences",
      kind: "status-before",
      status: 503,
      body: repeated({ ...OCR, ...ACCEPTANCE }, ...ALL),
    });
    house.simulator.fault({
      operation: "uploadVideo",
      kind: "status-before",
      status: 503,
      body: repeated({}, "video"),
    });
    const onFilm = await handIn(filmed, ALL);
    await house.waits(onFilm, "approval", 40_000);
    await look();
    expect((await call("shown", `/v1/requests/${onFilm}/video`)).status).toBe(200);
    for (const role of ALL) {
      expect((await call("shown", `/v1/requests/${onFilm}/enclosures/${role}`)).status).toBe(200);
    }
    await call("acting", `/v1/requests/${onFilm}/approve`, {});
    await house.waits(onFilm, "code");
    await call("acting", `/v1/requests/${onFilm}/code`, { secret: await house.codeFor(onFilm) });
    await house.reaches(onFilm, "cleanup", "done");

    // Face to face, and rejected in the words of the input.
    const faced = { workflow: "classic", signer: classicSigner, identity: identityOf(SIDES) };
    const { surname_2: _other, email: _address, ...told } = OCR;
    const details = Object.fromEntries(
      Object.entries(told).map(([field, value]) => [field, [`${value} is not valid`]]),
    );
    house.simulator.fault({
      operation: "createRequest",
      kind: "status-before",
      status: 503,
      body: repeated(told, ...SIDES),
    });
    house.simulator.fault({ operation: "createRequest", kind: "validation", body: { status: "500", details } });
    const faceToFace = await handIn(faced, SIDES);
    await house.waits(faceToFace, "approval");
    await call("acting", `/v1/requests/${faceToFace}/approve`, {});
    await house.reaches(faceToFace, "cleanup", "failed", 40_000);
    await look();

    // Callers' mistakes.
    for (const [manifest, sent] of [
      [faced, ["document_front"]],
      [{ ...faced, identity: identityOf(["document_front"]) }, SIDES],
      [faced, ALL],
      [{ ...filmed, identity: { ...filmed.identity, similarity_level: OCR.given_name } }, ALL],
    ] as [object, Shows[]][]) {
      expect((await call("problem", "/v1/requests", await form(manifest, sent))).status).toBeGreaterThanOrEqual(400);
    }
    await call("problem", `/v1/requests/${onFilm}/enclosures/${encodeURIComponent(PICTURES.video.name)}`);

    // From the inbox: a folder that an officer refuses, and one that nobody can use. Both come back.
    for (const [name, roles] of [
      ["case", SIDES],
      ["half a case", ["document_front"] as Shows[]],
    ] as const) {
      const folder = join(house.dataDir, "inbox", name);
      mkdirSync(folder);
      for (const role of roles) writeFileSync(join(folder, PICTURES[role].name), bytesOf(role));
      writeFileSync(join(folder, "a.pdf"), await samplePdf());
      writeFileSync(join(folder, "request.json"), JSON.stringify(faced));
    }
    const path = join(house.dataDir, "status", "case.status.json");
    const status = () => (existsSync(path) ? readJson(path) : {}) as { request_id?: string; state?: string };
    await expect.poll(() => status().request_id, { timeout: 20_000 }).toMatch(/^req-/);
    const dropped = status().request_id ?? "";
    await house.waits(dropped, "approval");
    await look();
    await call("acting", `/v1/requests/${dropped}/refuse`, { reason: "The picture shows somebody else." });
    await expect.poll(() => status().state, { timeout: 20_000 }).toBe("refused");
    const failed = (...names: string[]) => join(house.dataDir, "failed", ...names);
    await expect.poll(() => existsSync(failed("half a case.error.txt")), { timeout: 20_000 }).toBe(true);
    await expect.poll(() => existsSync(failed("case", PICTURES.document_front.name)), { timeout: 20_000 }).toBe(true);
    await expect.poll(() => existsSync(join(house.dataDir, ".work", dropped)), { timeout: 10_000 }).toBe(false);
    expect(statSync(failed("case", PICTURES.document_front.name)).mode & 0o077).toBe(0);

    for (const id of [onFilm, faceToFace, dropped]) {
      await call("history", `/v1/requests/${id}/history`);
      await call("show", `/v1/requests/${id}`);
    }
    await call("list", "/v1/requests?limit=100");
    await call("metrics", "/metrics");
    await look();
    places.push({ kind: "log", where: "standard error", content: house.logged() });

    // What was looked at is there at all: a search of nothing finds nothing.
    const kinds = ["redis", "journal", "status", "signed", "log", "show", "problem", "metrics"];
    for (const kind of [...kinds, "picture", "manifest", "claim", "note", "document", "shown"]) {
      expect(
        places.some((place) => place.kind === kind),
        kind,
      ).toBe(true);
    }
    const of = (kind: string) => places.filter((place) => place.kind === kind);
    expect(isThere(PICTURES.document_rear.name, of("problem"))).toBe(true);
    expect(isThere(PICTURES.document_front.marker, of("picture"))).toBe(true);
    expect(isThere("stage will be retried", of("log"))).toBe(true);
    expect(leaks(CANARIES, places)).toEqual([]);
  },
);
