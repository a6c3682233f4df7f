/**
 * A One-Shot provider, written from its published contract alone and without a look at the client or at the other
 * stand-in: what both of those misread in the same way shows here. It really signs, is strict about states, fields
 * and content types, and keeps a ledger of everything that took effect.
 *
 * @source The provider's contract: sections 5 to 9, 13, 16 and 18; see docs/provider.md for where each fact is from.
 */
import { createHash, randomInt, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { createAnswers, type Answer } from "./answers.ts";
import { readMultipart } from "./multipart.ts";
import { readHashFile } from "./hashes.ts";
import { createNotices } from "./notices.ts";
import { SEED, type Readings, type Status } from "./readings.ts";
import { cannotSign, signPdf, smallPdf, type Appearance, type Authority } from "./signing.ts";

export type Effect =
  "create" | "approve" | "refuse" | "cancel" | "upload" | "otp" | "wrong-code" | "sign" | "delete" | "delete-all";

/** One line of the ledger. Nothing that took effect is missing, nothing in it is ever changed. */
export interface Entry {
  atMs: number;
  effect: Effect;
  requestPk: number;
  uid?: string;
  /** Of the original, for an upload; of the signed file, for a deletion after the signature. */
  sha256?: string;
  /** The signed files that are gone with this deletion. */
  lost?: { uid: string; sha256: string }[];
}
export interface Call {
  method: string;
  path: string;
  code: number;
}

interface Document {
  uid: string;
  original: Buffer | undefined;
  signed: Buffer | undefined;
  isHash: boolean;
}
interface Request {
  pk: number;
  videoidPk: number;
  linkId: string;
  email: string;
  phone: string;
  status: Status;
  trail: { atMs: number; status: Status }[];
  documents: Map<string, Document>;
  code: string | undefined;
  codeSentMs: number;
  signing: boolean;
  approvedMs: number;
  signedMs: number;
  steps: Status[];
}

export interface Options {
  authority: Authority;
  readings?: Partial<Readings>;
  /** Hears of an entry before the caller gets an answer. */
  onEffect?(entry: Entry): void;
  rao?: { rao: string; token: string };
  billing?: { username: string; password: string };
  port?: number;
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Fields that the contract names, per call; a strict provider wants no others. */
const FIELDS = {
  create: [
    "mobile_phone_number",
    "email",
    "registration_authority",
    "profile",
    "billing_username",
    "billing_password",
    "env",
    "videoid_mode",
    "webhook_url",
  ],
  approve: ["username", "password", "pin", "token", "rao"],
  refuse: ["username", "password", "pin", "token", "rao", "reason"],
  otp: ["delivery_method"],
  sign: ["secret", "ext_unlock_type", "ext_unlock_value", "signature"],
};

export async function startProvider(options: Options) {
  const readings: Readings = { ...SEED, ...options.readings };
  const answers = createAnswers(readings);
  const rao = options.rao ?? { rao: "1400", token: "3bf8d8eb-d96c-41ea-83ad-d78a7016c7da" };
  const ledger: Entry[] = [];
  const calls: Call[] = [];
  const requests = new Map<number, Request>();
  const byVideoid = new Map<number, Request>();
  let webhookUrl: string | undefined;
  let origin = "";
  let looks = 0;
  const next = { pk: 1_012_632, videoid: 16_673 };
  const notices = createNotices(readings, () => webhookUrl);
  const stopped = new AbortController();

  function record(entry: Omit<Entry, "atMs">): void {
    const line = Object.freeze({ atMs: Date.now(), ...entry });
    ledger.push(line);
    options.onEffect?.(line);
  }
  function move(request: Request, to: Status, event: string): void {
    const from = request.trail.length === 0 ? undefined : request.status;
    request.status = to;
    request.trail.push({ atMs: Date.now(), status: to });
    if (to === "ENROLLREADY") request.approvedMs = Date.now();
    notices.tell({ requestPk: request.pk, from, to, event });
  }

  // What a body must be

  function readJson(
    incoming: IncomingMessage,
    body: Buffer,
    known: string[],
    mayBeEmpty = false,
  ): Record<string, unknown> | Answer {
    const type = incoming.headers["content-type"] ?? "";
    if (body.length === 0 && mayBeEmpty) return {};
    if (!/^application\/json\b/i.test(type)) return answers.invalid([["content-type", "Input should be JSON"]]);
    let value: unknown;
    try {
      value = JSON.parse(body.toString("utf8"));
    } catch {
      return answers.json(400, { status: "Invalid JSON", details: "Could not parse JSON body" });
    }
    if (typeof value !== "object" || value === null || Array.isArray(value))
      return answers.invalid([["body", "Input should be an object"]]);
    const unknown = Object.keys(value).filter((key) => !known.includes(key));
    if (readings.strictFields && unknown.length > 0)
      return answers.invalid(unknown.map((key) => [key, "Extra inputs are not permitted"]));
    return value as Record<string, unknown>;
  }
  const isAnswer = (value: Record<string, unknown> | Answer): value is Answer => Buffer.isBuffer(value.body);
  const filled = (value: unknown): value is string => typeof value === "string" && value.trim() !== "";

  function wrongRao(body: Record<string, unknown>): Answer | undefined {
    const byToken = filled(body.token);
    const byName = filled(body.username) && filled(body.password) && filled(body.pin);
    const id = typeof body.rao === "number" || filled(body.rao) ? String(body.rao) : undefined;
    if ((!byToken && !byName) || id === undefined)
      return answers.error(400, "Missing required parameters: incomplete RAO's credentials");
    const right = id === rao.rao && (byToken ? body.token === rao.token : true);
    return right ? undefined : answers.error(403, "Invalid RAO credentials");
  }

  // The calls

  function create(incoming: IncomingMessage, raw: Buffer): Answer {
    const body = readJson(incoming, raw, FIELDS.create);
    if (isAnswer(body)) return body;
    const problems: [string, string][] = [];
    for (const field of ["mobile_phone_number", "email"])
      if (!filled(body[field])) problems.push([field, "This field is required"]);
    const { mobile_phone_number: phone, email, env } = body;
    if (filled(email) && !/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(email))
      problems.push(["email", "Enter a valid email address"]);
    if (filled(phone) && !/^\+\d{6,15}$/.test(phone))
      return answers.error(400, "Please use the mobile phone number with an international prefix");
    if (problems.length > 0) return answers.invalid(problems);
    if (readings.envRequired && env === undefined)
      return answers.error(400, "Missing env parameter. Please set it in settings or specify it as parameter");
    if (env !== undefined && env !== "sandbox" && env !== "prod")
      return answers.error(400, "The specified environment is not available");
    const ra = body.registration_authority;
    if (!filled(ra) && typeof ra !== "number") return answers.error(400, "Missing required parameters");
    if (!filled(body.profile)) return answers.error(400, "Missing required parameters");
    if (!filled(body.billing_password) || !/^[A-Za-z0-9+/]+={0,2}$/.test(body.billing_password))
      return answers.error(500, "Billing credentials not valid. Please check if they are base64 encoded");
    const secret = Buffer.from(body.billing_password, "base64").toString("utf8");
    const { billing } = options;
    if (billing && (secret !== billing.password || body.billing_username !== billing.username))
      return answers.error(500, "Cannot check the remaining credit for the billing user. Please check the credentials");

    const request: Request = {
      pk: (next.pk += randomInt(1, 9)),
      videoidPk: (next.videoid += randomInt(1, 4)),
      linkId: randomUUID(),
      email: String(email),
      phone: String(phone),
      status: "VIDEOPENDING",
      trail: [],
      documents: new Map(),
      code: undefined,
      codeSentMs: 0,
      signing: false,
      approvedMs: 0,
      signedMs: 0,
      steps: [...readings.identification],
    };
    requests.set(request.pk, request);
    byVideoid.set(request.videoidPk, request);
    record({ effect: "create", requestPk: request.pk });
    move(request, "VIDEOPENDING", "REQUEST_CREATED");
    const values = {
      videoid_pk: answers.number(request.videoidPk),
      videoid_link: `${origin}/lcmpl/videoid/${request.linkId}`,
      request_pk: answers.number(request.pk),
    };
    const text = `VideoID created with pk ${request.videoidPk}`;
    if (readings.created === "flat")
      return answers.json(readings.createdCode, { status: readings.ok, messsage: text, ...values, ...answers.extra() });
    return answers.success(text, { ...values, ...answers.extra() }, readings.createdCode);
  }

  function decide(incoming: IncomingMessage, raw: Buffer, request: Request | undefined, refusing: boolean): Answer {
    const body = readJson(incoming, raw, refusing ? FIELDS.refuse : FIELDS.approve);
    if (isAnswer(body)) return body;
    const wrong = wrongRao(body);
    if (wrong) return wrong;
    if (refusing && !filled(body.reason)) return answers.error(400, "No reason specified");
    if (!request) return answers.missing("Request not found");
    if (!["VIDEOREVIEW", "CREATED"].includes(request.status)) return answers.error(412, "Invalid request status");
    if (refusing) {
      record({ effect: "refuse", requestPk: request.pk });
      move(request, "CANCELLED", "VIDEOID_REFUSED");
      return answers.success("Videoid refuse completed");
    }
    record({ effect: "approve", requestPk: request.pk });
    move(request, "ENROLLREADY", "REQUEST_APPROVED");
    return answers.success("Request approved successfully");
  }

  function look(request: Request): Answer {
    const asOf = Date.now() - readings.lagMs;
    const seen = request.trail.findLast(({ atMs }) => atMs <= asOf) ?? request.trail[0];
    const values = {
      pk: answers.number(request.pk),
      status: seen?.status ?? request.status,
      profile: "PFnubeQAFCiudadano",
      registration_authority: 139,
      scratchcard: "5039078",
      given_name: null,
      surname_1: null,
      email: request.email,
      mobile_phone_number: request.phone,
      paperless_mode: false,
      videoid_mode: true,
      validity_time: "1",
      secure_element: 2,
      certificate_set: request.status === "ISSUED" ? [{ pk: 9, status: "VALID" }] : [],
      // Words that look like a status, and are not the request's.
      ...(readings.extraFields
        ? {
            approving_rao: { pk: 1400, certificate: { status: "REVOKED", valid: true } },
            videoid_data: { pk: request.videoidPk, status: "VALIDATED", refusal_reason: null },
            organization_name: null,
          }
        : {}),
    };
    if (readings.request === "bare") return answers.json(200, values);
    return answers.json(200, { status: readings.ok, [readings.data]: values, ...answers.extra() });
  }

  function upload(incoming: IncomingMessage, raw: Buffer, pk: number): Answer {
    const parts = readMultipart(raw, incoming.headers["content-type"] ?? "");
    if (!parts) return answers.invalid([["content-type", "Input should be multipart/form-data"]]);
    const request = requests.get(pk);
    if (!request) return answers.missing(`Cannot upload document: Request ${pk} not found on disk`);
    const hash = parts.length === 1 && parts[0]?.name === "hashfile" ? readHashFile(parts[0].content) : undefined;
    const expected = hash ? ["hashfile"] : parts.map((_, index) => (index === 0 ? "file" : `file${index + 1}`));
    if (parts.length === 0 || parts.some(({ name }) => !expected.includes(name)))
      return answers.invalid([["file", "Field required"]]);
    if (readings.uploadNeeds === "ENROLLREADY" && request.status !== "ENROLLREADY")
      return answers.error(412, "Invalid request status");
    if (["ISSUED", "CANCELLED"].includes(request.status)) return answers.error(412, "Invalid request status");
    if (request.documents.size + parts.length > readings.documentsPerRequest)
      return answers.error(400, `Maximum number of document reached for Request ${pk}`);
    for (const { type, content } of hash ? [] : parts)
      if (type !== "application/pdf" || !content.subarray(0, 1_024).includes("%PDF-"))
        return answers.error(415, `Unsupported file type: ${type ?? "text/plain"}`);
    if (hash && parts[0]?.type !== "application/json")
      return answers.error(415, `Unsupported file type: ${parts[0]?.type ?? "text/plain"}`);
    const unreadable = (hash ? [] : parts).map(({ content }) => cannotSign(content)).find((why) => why !== undefined);
    if (unreadable !== undefined) return answers.error(415, `Unsupported file type: ${unreadable}`);
    const stored = parts.map(({ name, filename, content }) => {
      const uid = readings.uppercaseUid ? randomUUID().toUpperCase() : randomUUID();
      request.documents.set(uid, {
        uid,
        original: Buffer.from(content),
        signed: undefined,
        isHash: hash !== undefined,
      });
      record({ effect: "upload", requestPk: pk, uid, sha256: sha256(content) });
      return { name, uid, filename, digest: sha256(content) };
    });
    const short = stored.map(({ name, uid }) => ({ name, [readings.uid]: uid, ...answers.extra() }));
    const nulls = short.map((item) => ({ ...item, errorCode: null, errorMessage: null }));
    const old = stored.map(({ name, uid, filename, digest }) => ({ digest, uid, key: name, filename })).reverse();
    const data =
      readings.uploaded === "old-array"
        ? old
        : readings.uploaded === "array"
          ? nulls
          : stored.length > 1
            ? short
            : readings.uploaded === "string"
              ? stored[0]?.uid
              : short[0];
    return answers.json(200, { status: readings.ok, [readings.data]: data, ...answers.extra() });
  }

  function contract(pk: number): Answer {
    const request = requests.get(pk);
    if (!request) return answers.missing(`Request ${pk} not found`);
    const ready = request.approvedMs > 0 && Date.now() - request.approvedMs >= readings.contractAfterMs;
    if (ready) return answers.file(smallPdf(["Service contract", `Request ${pk}`]));
    if (readings.contractEarly === 412) return answers.error(412, "Invalid request status");
    if (readings.contractEarly === 404) return answers.error(404, `Request ${pk} not found`);
    return answers.json(400, { status: "404 Not Found", details: `Request ${pk} not found` });
  }

  function otp(incoming: IncomingMessage, raw: Buffer, pk: number): Answer {
    const body = readJson(incoming, raw, FIELDS.otp, true);
    if (isAnswer(body)) return body;
    const request = requests.get(pk);
    if (!request) return answers.missing(`Request ${pk} not found. Cannot send OTP secret`);
    if (request.status !== "ENROLLREADY")
      return answers.error(412, "Error occured during OTP generation: Invalid request status");
    if (Date.now() - request.codeSentMs < readings.otpGuardMs)
      return answers.error(412, "Error occured during OTP generation: Otp generated less than a minute ago");
    request.code = String(randomInt(0, 1_000_000)).padStart(6, "0");
    request.codeSentMs = Date.now();
    record({ effect: "otp", requestPk: pk });
    return answers.success("OTP generated");
  }

  function readAppearance(value: unknown): Appearance | undefined | Answer {
    const appearance = (value as { appearance?: Record<string, unknown> } | undefined)?.appearance;
    if (appearance === undefined || appearance.position === undefined) return undefined;
    const { position, page = 0, text = [], image } = appearance;
    if (typeof position !== "string" || !/^\s*\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*\d+\s*$/.test(position))
      return answers.invalid([["signature.appearance.position", "String should match the pattern"]]);
    if (!Number.isInteger(page) || Number(page) < 0)
      return answers.invalid([["signature.appearance.page", "Input should be a valid integer"]]);
    if (image !== undefined)
      return answers.error(404, { image: `The image ${JSON.stringify(image)} cannot be found on disk` });
    const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = position.split(",").map(Number);
    return { rectangle: [x1, y1, x2, y2], page: Number(page), lines: [text].flat().map(String) };
  }

  async function sign(incoming: IncomingMessage, raw: Buffer, pk: number): Promise<Answer> {
    const body = readJson(incoming, raw, FIELDS.sign);
    if (isAnswer(body)) return body;
    const request = requests.get(pk);
    if (!request) return answers.missing(`Request ${pk} not found. Cannot sign documents`);
    if (!filled(body.secret)) return answers.error(400, "Missing required parameter: 'secret'");
    const appearance = readAppearance(body.signature);
    if (appearance && "code" in appearance) return appearance;
    if (request.status === "ISSUED") return answers.error(412, "Request already in ISSUED status");
    if (request.status !== "ENROLLREADY" || request.signing) return answers.error(412, "Invalid request status");
    if (request.documents.size === 0)
      return answers.error(404, "The following documents are not found in Request's folders: ");
    if (body.secret !== request.code) {
      record({ effect: "wrong-code", requestPk: pk });
      return answers.error(403, "Confirmation Code invalid");
    }
    request.signing = true;
    try {
      await pause(readings.signMs);
      const signed = new Map<string, Buffer>();
      for (const { uid, original, isHash } of request.documents.values()) {
        const hash = isHash && original ? readHashFile(original) : undefined;
        if (hash) signed.set(uid, options.authority.overHash(hash));
        else if (original) signed.set(uid, await signPdf(options.authority, original, appearance));
      }
      for (const [uid, bytes] of signed) {
        const document = request.documents.get(uid);
        if (document) document.signed = bytes;
      }
    } catch (error) {
      return answers.error(500, `The document cannot be signed: ${error instanceof Error ? error.message : "unknown"}`);
    } finally {
      request.signing = false;
    }
    request.signedMs = Date.now();
    record({ effect: "sign", requestPk: pk });
    move(request, "ISSUED", "REQUEST_ENROLLED");
    return answers.success("Documents correctly signed");
  }

  function download(pk: number, uid: string, version: string | null): Answer {
    const request = requests.get(pk);
    const document = request?.documents.get(uid);
    const ready = request !== undefined && Date.now() - request.signedMs >= readings.signedAfterMs;
    const bytes = version === "original" ? document?.original : ready ? document?.signed : undefined;
    if (!bytes) return answers.missing("Document not found");
    return answers.file(bytes, document?.isHash ? (version === "original" ? "hash" : "p7m") : "pdf");
  }
  function losses(documents: Document[]): { lost?: { uid: string; sha256: string }[] } {
    const lost = documents.flatMap(({ uid, signed }) => (signed ? [{ uid, sha256: sha256(signed) }] : []));
    return lost.length > 0 ? { lost } : {};
  }
  function remove(pk: number, uid: string): Answer {
    const document = requests.get(pk)?.documents.get(uid);
    if (!document) return answers.missing(`Document not found with uid ${uid} and type signed`);
    if (readings.deleteRemoves === "original-first" && document.original && document.signed) {
      document.original = undefined;
      record({ effect: "delete", requestPk: pk, uid });
      return answers.deleted("Document successfully deleted");
    }
    requests.get(pk)?.documents.delete(uid);
    record({ effect: "delete", requestPk: pk, uid, ...losses([document]) });
    return answers.deleted("Document successfully deleted");
  }
  function removeAll(pk: number): Answer {
    const request = requests.get(pk);
    if (!request || request.documents.size === 0) return answers.missing("No documents found for specified Request");
    const documents = [...request.documents.values()];
    request.documents.clear();
    record({ effect: "delete-all", requestPk: pk, ...losses(documents) });
    return answers.deleted(`Documents deleted for Request ${pk}`);
  }
  function cancel(pk: number): Answer {
    const request = requests.get(pk);
    if (!request) return answers.missing(`Request ${pk} not found`);
    if (["ISSUED", "CANCELLED"].includes(request.status)) return answers.error(412, "Invalid request status");
    request.documents.clear();
    record({ effect: "cancel", requestPk: pk });
    move(request, "CANCELLED", "REQUEST_CANCELED");
    return answers.success("Request directory removed successfully");
  }

  // From a path to a call

  async function route(incoming: IncomingMessage, raw: Buffer): Promise<Answer> {
    const url = new URL(incoming.url ?? "/", "http://provider");
    const method = incoming.method ?? "GET";
    let path = url.pathname;
    if (!path.startsWith(`${readings.basePath}/`)) return answers.unrouted(404);
    path = path.slice(readings.basePath.length);
    if (path.length > 1 && path.endsWith("/")) {
      if (readings.trailingSlash === "none") return answers.unrouted(404);
      path = path.slice(0, -1);
    }
    const [, group = "", first = "", second = "", third = "", ...rest] = path.split("/");
    if (rest.length > 0) return answers.unrouted(404);
    const shape = `${group}${first && "/pk"}${second && `/${second.length > 12 ? "uid" : second}`}${third && "/uid"}`;
    if (first !== "" && !/^\d+$/.test(first))
      return answers.invalid([["request_pk", "Input should be a valid integer"]]);
    const pk = Number(first);
    if (method === "GET" && readings.busyEvery > 0 && (looks += 1) % readings.busyEvery === 0)
      return (looks / readings.busyEvery) % 2 === 0
        ? answers.error(429, "Too many requests")
        : { ...answers.unrouted(404), code: 503 };
    const approving = readings.approvePath === "videoid" ? "videoid/pk/approve" : "request/pk/approve";
    const found = readings.approvePath === "videoid" ? byVideoid.get(pk) : requests.get(pk);
    const request = requests.get(pk);
    const seed = readings.retrieval !== "reference";
    const reference = readings.retrieval !== "seed";
    const table: Record<string, Partial<Record<string, () => Answer | Promise<Answer>>>> = {
      videoid: { POST: () => create(incoming, raw) },
      [approving]: { POST: () => decide(incoming, raw, found, false) },
      "videoid/pk/refuse": { POST: () => decide(incoming, raw, byVideoid.get(pk), true) },
      "request/pk": {
        GET: () =>
          request ? look(request) : answers.missing("Request not found. Make sure the upload directory is correct."),
        DELETE: () => cancel(pk),
      },
      "document/pk": {
        POST: () => upload(incoming, raw, pk),
        ...(readings.deletesAll && { DELETE: () => removeAll(pk) }),
      },
      "document/pk/uid": {
        DELETE: () => remove(pk, second),
        ...(reference ? { GET: () => download(pk, second, url.searchParams.get("document_type")) } : {}),
      },
      ...(seed ? { "document/pk/signed/uid": { GET: () => download(pk, third, "signed") } } : {}),
      "contract/pk": { GET: () => contract(pk) },
      "otp/pk": { POST: () => otp(incoming, raw, pk) },
      "sign/pk": { POST: () => sign(incoming, raw, pk) },
    };
    const methods = table[shape];
    const call = methods?.[method];
    if (call) return call();
    const isOtherRetrieval = method === "GET" && /^document\/pk\/(signed\/)?uid$/.test(shape);
    if (isOtherRetrieval) return answers.unrouted(readings.otherRetrieval);
    return answers.unrouted(methods ? 405 : 404);
  }

  async function send(response: ServerResponse, { code, body, type }: Answer): Promise<void> {
    response.statusCode = code;
    if (type !== undefined) response.setHeader("content-type", type);
    if (readings.closes) response.setHeader("connection", "close");
    if (code === 204) return void response.end();
    if (!readings.chunked) response.setHeader("content-length", body.length);
    if (!readings.trickle) return void response.end(body);
    const pieces = 4;
    for (let piece = 0; piece < pieces; piece += 1) {
      response.write(body.subarray((body.length * piece) / pieces, (body.length * (piece + 1)) / pieces));
      await pause(15);
    }
    response.end();
  }

  const server = createServer((incoming, response) => {
    const parts: Buffer[] = [];
    incoming.on("data", (part: Buffer) => parts.push(part));
    incoming.once("end", () => {
      void (async () => {
        await pause(readings.delayMs, undefined, { signal: stopped.signal });
        const answer = await route(incoming, Buffer.concat(parts));
        calls.push({ method: incoming.method ?? "", path: incoming.url ?? "", code: answer.code });
        await send(response, answer);
      })().catch(() => response.destroy());
    });
  });
  server.listen(options.port ?? 0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  /** The request that was opened for this e-mail address. */
  const of = (email: string): Request[] => [...requests.values()].filter((request) => request.email === email);
  const EVENTS: Partial<Record<Status, string>> = {
    VIDEOREVIEW: "VIDEOID_UPDATED",
    VIDEOINCOMPLETE: "VIDEOID_UPDATED",
    VIDEOERROR: "VIDEOID_FAILED",
    CREATED: "VIDEOID_VALIDATED",
  };

  return {
    url: `${origin}${readings.basePath}`,
    ledger: ledger as readonly Entry[],
    calls: calls as readonly Call[],
    rao,
    /** Where notifications go; the registration authority's staff would set it. */
    notify(url: string): void {
      webhookUrl = url;
    },
    /** The signer at the link: one step of the identification; false once there is none left. */
    identify(link: string, outcome?: Status): boolean {
      const request = [...requests.values()].find(({ linkId }) => link.endsWith(`/${linkId}`));
      if (!request) throw new Error(`nobody has the link ${link}`);
      const step = outcome ?? request.steps.shift();
      if (step !== undefined) move(request, step, EVENTS[step] ?? "VIDEOID_UPDATED");
      else if (readings.operatorApproves && request.status !== "ENROLLREADY")
        move(request, "ENROLLREADY", "REQUEST_APPROVED");
      else return false;
      return true;
    },
    /** What the signer's phone shows. */
    codeOf: (pk: number): string | undefined => requests.get(pk)?.code,
    pksOf: (email: string): number[] => of(email).map(({ pk }) => pk),
    statusOf: (pk: number): Status | undefined => requests.get(pk)?.status,
    /** Documents that were not deleted, originals and signed ones. */
    heldDocuments: (): number => [...requests.values()].reduce((sum, { documents }) => sum + documents.size, 0),
    async close(): Promise<void> {
      stopped.abort();
      notices.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
export type Provider = Awaited<ReturnType<typeof startProvider>>;
