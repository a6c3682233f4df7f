import fc from "fast-check";
import { gzipSync } from "node:zlib";
import { createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

/** How an answer's bytes leave. */
export type Pace =
  | "at once"
  /** In pieces of a few bytes. */
  | "in pieces"
  /** A byte now and then, without end in sight. */
  | "dripping"
  /** The head and half the body, then silence. */
  | "silence in the middle"
  /** The head and half the body, then a reset. */
  | "reset in the middle"
  /** The body over and over, until the other side has had enough. */
  | "endless"
  | "silence"
  | "reset";

/** How the head tells how long the body is. */
export type Length = "right" | "none" | "too long" | "too short" | "chunked" | "twice" | "nonsense";

/** One answer of a provider that does what it likes. */
export interface Hostile {
  status: number;
  type: string;
  headers: Record<string, string>;
  body: Buffer;
  length: Length;
  pace: Pace;
  /** Answers before it has read what was sent. */
  early: boolean;
}

/** Whether an answer may arrive that nobody can tell from a whole one. */
function isWhole({ length, pace, status, body }: Hostile): boolean {
  const arrives =
    pace === "at once" ||
    pace === "in pieces" ||
    (pace === "dripping" && length !== "chunked") ||
    (pace === "reset in the middle" && (length === "none" || body.length === 0));
  // One whose length is told too short is whole for whoever reads it.
  return arrives && ["right", "chunked", "none", "too short"].includes(length) && status >= 200;
}

/** Texts with which the provider says that it did nothing, whatever the status; from docs/provider.md §Errors. */
const SAYS_NO =
  /confirmation code|less than a minute|not found|valid email|invalid request status|\bISSUED\b|\bRao\b|does not exist|\["|\[\{"(message|code)"|this field|is not valid|invalid json/i;

/** Whether the answer says, beyond doubt, that the call did nothing. Anything else leaves it open. */
export function saysNothingWasDone(answer: Hostile): boolean {
  if (!isWhole(answer)) return false;
  const { status, body } = answer;
  if (status >= 400 && status < 500 && status !== 408) return true;
  const text = body.toString("utf8");
  // The status inside the body counts as well: the first generation puts a 404 into a 400.
  const isTold = status < 300 || status === 500 || status === 501 || /"status":"\s*(4\d\d|500)\b/.test(text);
  return isTold && SAYS_NO.test(text);
}

const PDF = `%PDF-1.7\n${"x".repeat(3_000)}\n%%EOF\n`;
const HTML = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502</h1></center></body></html>";
const UID = "604b889f-0000-4000-8000-000000000001";
const IMAGE = "\x89PNG\r\n\x1a\n" + "x".repeat(500);
const FILM = `\0\0\0\x18ftypmp42${"x".repeat(3_000)}`;
const CMS = `\x30\x82\x07\x64\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0${"x".repeat(1_880)}`;

/** What the published pages show for a success, for the fuzz to spoil; by what is asked for. */
const GOOD = {
  creation: [
    { request_pk: 1012632, videoid_pk: 16673, videoid_link: "https://identify.example/1" },
    { messsage: "ok", detail: { request_pk: "1012632", videoid_pk: 16673, videoid_link: "" } },
  ],
  request: [
    { status: "success", details: { pk: 1012632, status: "ENROLLREADY", email: "ana.canary@example.com" } },
    { status: "VIDEOREVIEW", pk: 1012632, videoid_data: { pk: 16673, refusal_reason: null } },
  ],
  uids: [
    { detail: { name: "file", uid: UID } },
    { details: [{ digest: "", uid: UID, key: "file", filename: "Anacanary.pdf" }] },
    { status: "200 OK", details: UID },
  ],
  pdf: [PDF],
  registration: [
    { status: "success", message: "Request created with pk 388141", details: { pk: 388141, status: "ENROLLREADY" } },
    { status: "201 Created", details: 29571 },
    { status: "success", messsage: "Request created with pk 388141" },
  ],
  twoUids: [
    {
      detail: [
        { name: "hashfile", uid: `${UID}0` },
        { name: "file", uid: UID },
      ],
    },
  ],
  token: [{ status: "success", details: { username: "9001800", password: true, pin: false } }],
  tokens: [{ status: "success", details: { [UID]: { username: "1125824", password: true, pin: true } } }],
  images: [{ details: { [UID]: { upload_date: "2021-06-03", ext: ".png", size: [600, 600], mime: "image/png" } } }],
  uid: [
    { status: "success", message: "stored", details: { token_uid: UID, image_uid: UID } },
    { status: "200 OK", details: "fd6a21e6fb7d43b9893a520d67d6ff60" },
    { status: "success", message: `Image uploaded with uid '${UID}'` },
  ],
  png: [bytesIn(IMAGE)],
  film: [bytesIn(FILM)],
  cms: [bytesIn(CMS)],
  hash: [{ messageDigest: "MC8GCSqGSIb3DQEJBDEiBCC6eBa/jwHP", digestAlgorithm: "sha256", addAuthAttribute: 1 }],
  nothing: [
    { status: "success", message: "The documents are going to be signed in a few seconds", asyncmode: true },
    { status: "success", message: "Done" },
    "",
  ],
} satisfies Record<string, (object | string)[]>;

/** A file whose bytes are these characters; a Buffer, so that it is not taken for text. */
function bytesIn(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

export type Asked = keyof typeof GOOD;

/** What the published pages show for an error. */
const BAD = [
  { status: "error", message: "Confirmation Code invalid" },
  { status: "error", message: "Error occured during OTP generation: Otp generated less than a minute ago" },
  { status: "404 Not Found", details: "Request 1464 not found" },
  { status: "500 Internal Server Error", details: { email: ["Enter a valid email address"] } },
  { code: "412", id: "8f1", error: "Invalid request status" },
  { detail: "Request already in ISSUED status" },
  { detail: [{ loc: ["body", "pin"], msg: "field required", type: "missing" }] },
  { status: "error", message: "Rao matching query does not exist." },
  { status: "error", message: "Upstream did not answer in time" },
  { status: "error" },
  { success: false },
];

/** Anything JSON can hold, the keys that matter here among them. */
const json = fc.jsonValue({ maxDepth: 2, stringUnit: "binary" });

/** A value of another type than it should have. */
const wrong = fc.oneof(
  json,
  fc.constantFrom<unknown>(
    -1,
    0,
    1.5,
    1e308,
    2 ** 53,
    "1012632",
    " 7 ",
    "",
    null,
    true,
    [],
    {},
    [1],
    "NaN",
    "..",
    "a/b",
  ),
);

const toBytes = (answer: object | string) =>
  Buffer.isBuffer(answer) ? answer : Buffer.from(typeof answer === "string" ? answer : JSON.stringify(answer));
const toText = (answer: object | string) => toBytes(answer).toString();

const readable = (answer: object | string) => (Buffer.isBuffer(answer) ? answer.toString() : answer);

/** A good or bad answer with some of its values, at any depth, replaced or left out. */
const spoilt = (answers: readonly (object | string)[]) =>
  fc
    .tuple(fc.constantFrom(...answers), fc.infiniteStream(fc.nat(5)), fc.infiniteStream(wrong))
    .map(([answer, dice, values]) => {
      const spoil = (value: unknown): unknown => {
        const roll = dice.next().value as number;
        if (roll === 0) return values.next().value as unknown;
        if (roll === 1 && typeof value === "number") return String(value);
        if (roll === 2 && typeof value === "object" && value !== null) return [value];
        if (Array.isArray(value)) return value.map(spoil);
        if (typeof value !== "object" || value === null) return value;
        const kept = Object.entries(value).filter(() => dice.next().value !== 5);
        return Object.fromEntries(kept.map(([key, one]) => [key, spoil(one)]));
      };
      return JSON.stringify(spoil(answer)) ?? "";
    });

/** Bodies: spoilt answers, lies, and things that are no answers at all. */
const bodyFor = (good: readonly (object | string)[]): fc.Arbitrary<Buffer> =>
  fc.oneof(
    { weight: 8, arbitrary: spoilt([...good, ...BAD].map(readable)).map((text) => Buffer.from(text)) },
    { weight: 12, arbitrary: fc.constantFrom(...good).map(toBytes) },
    { weight: 4, arbitrary: fc.constantFrom(...BAD).map(toBytes) },
    { weight: 2, arbitrary: json.map((value) => Buffer.from(JSON.stringify(value) ?? "")) },
    { weight: 2, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    {
      weight: 6,
      arbitrary: fc
        .constantFrom(
          "",
          HTML,
          PDF,
          PDF.slice(0, 2_000),
          `{"details":"${PDF.slice(0, 60)}"}`,
          // Keys twice, one telling of success and one of an error.
          '{"status":"success","status":"error","message":"Confirmation Code invalid","message":"ok"}',
          '{"detail":{"request_pk":1,"request_pk":2,"videoid_pk":3}}',
          '{"__proto__":{"status":"ENROLLREADY","pk":1012632},"constructor":{"prototype":{"status":"x"}}}',
          '{"status":"ENROLLREADY","pk":1e308}',
          '{"request_pk":9007199254740993,"videoid_pk":1}',
          `${"[".repeat(60_000)}${"]".repeat(60_000)}`,
          `{"status":"error","details":${"[".repeat(60_000)}${"]".repeat(60_000)}}`,
          `${'{"details":'.repeat(20_000)}1${"}".repeat(20_000)}`,
          `{"message":"${"x".repeat(300_000)}"}`,
          " ".repeat(1_200_000),
        )
        .map((text) => Buffer.from(text)),
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom(...good).chain((answer) => {
        const text = toText(answer);
        return fc.constantFrom(
          Buffer.from(text.slice(0, -4)),
          Buffer.from(text, "utf16le"),
          Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(text)]),
          Buffer.concat([Buffer.from(text.slice(0, -2)), Buffer.from([0xff, 0xfe, 0xc0]), Buffer.from(text.slice(-2))]),
          gzipSync(text),
        );
      }),
    },
  );

/** A failure is to be read by people: a body is shown by its beginning. */
const shown = (good: readonly (object | string)[]) =>
  bodyFor(good).map((bytes) =>
    Object.assign(bytes, {
      [fc.toStringMethod]: () => `${bytes.length} bytes ${JSON.stringify(bytes.toString("latin1", 0, 120))}`,
    }),
  );

const STATUSES = [201, 202, 204, 207, 299, 300, 302, 304, 307, 400, 401, 402, 403, 404, 405, 408, 409];
const MORE_STATUSES = [
  410, 412, 413, 415, 418, 422, 423, 425, 429, 451, 499, 500, 501, 502, 503, 504, 520, 599, 999, 100, 103,
];

/** An answer to a call that asks for `asked`: half of them begin with 200. */
export const hostile = (asked: Asked): fc.Arbitrary<Hostile> =>
  fc.record({
    status: fc.oneof(fc.constant(200), fc.constantFrom(...STATUSES, ...MORE_STATUSES)),
    type: fc.constantFrom("application/json", "text/html", "application/pdf", "", "text/plain; charset=utf-16", "a"),
    headers: fc.constantFrom<Record<string, string>>(
      {},
      {},
      { "retry-after": "3" },
      { "retry-after": "99999999999" },
      { "retry-after": "Fri, 31 Dec 1999 23:59:59 GMT" },
      { "retry-after": "soon" },
      { location: "http://127.0.0.1:9/elsewhere" },
      { "content-encoding": "gzip" },
      { "x-filler": "y".repeat(40_000) },
    ),
    body: shown(GOOD[asked]),
    length: fc.oneof(
      { weight: 8, arbitrary: fc.constant<Length>("right") },
      { weight: 4, arbitrary: fc.constantFrom<Length>("none", "chunked") },
      { weight: 2, arbitrary: fc.constantFrom<Length>("too long", "too short", "twice", "nonsense") },
    ),
    pace: fc.oneof(
      { weight: 30, arbitrary: fc.constantFrom<Pace>("at once", "at once", "in pieces") },
      { weight: 6, arbitrary: fc.constantFrom<Pace>("reset", "reset in the middle", "endless") },
      { weight: 2, arbitrary: fc.constantFrom<Pace>("silence", "silence in the middle", "dripping") },
    ),
    early: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  });

/** An answer as it should be. */
export function plain(asked: Asked): Hostile {
  const [answer] = GOOD[asked] as (object | string)[];
  const body = toBytes(answer ?? "");
  return { status: 200, type: "a", headers: {}, body, length: "right", pace: "at once", early: false };
}

function headOf({ status, type, headers, body, length }: Hostile): string {
  const bytes = body.length;
  const lengths: Record<Length, string[]> = {
    right: [`content-length: ${bytes}`],
    none: ["connection: close"],
    "too long": [`content-length: ${bytes + 10}`],
    "too short": [`content-length: ${Math.max(0, bytes - 10)}`],
    chunked: ["transfer-encoding: chunked"],
    twice: [`content-length: ${bytes}`, `content-length: ${bytes + 1}`],
    nonsense: ["content-length: -5"],
  };
  const lines = [
    `HTTP/1.1 ${status} Whatever`,
    ...(type ? [`content-type: ${type}`] : []),
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...lengths[length],
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

function framed(bytes: Buffer, length: Length, isLast: boolean): Buffer {
  if (length !== "chunked") return bytes;
  const chunk =
    bytes.length === 0
      ? Buffer.alloc(0)
      : Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]);
  return isLast ? Buffer.concat([chunk, Buffer.from("0\r\n\r\n")]) : chunk;
}

/** What a flood was stopped at, should nobody else stop it. */
const FLOOD_MOST = 64 << 20;
const DRIP_MS = 40;

/** Sends such an answer, from its first byte to whatever its end is. */
export async function sendHostile(socket: Socket, reply: Hostile): Promise<void> {
  const { body, length, pace } = reply;
  const half = body.subarray(0, body.length >> 1);
  const alive = () => !socket.destroyed && socket.writable;
  switch (pace) {
    case "silence":
      return;
    case "reset":
      socket.resetAndDestroy();
      return;
    case "silence in the middle":
    case "reset in the middle":
      socket.write(Buffer.concat([Buffer.from(headOf(reply)), framed(half, length, false)]), () => {
        if (pace === "reset in the middle") setImmediate(() => socket.resetAndDestroy());
      });
      return;
    case "dripping":
      socket.write(headOf(reply));
      for (let i = 0; alive() && i < 200; i++) {
        socket.write(framed(body.subarray(i, i + 1), length, false));
        await new Promise((resolve) => setTimeout(resolve, DRIP_MS));
      }
      return;
    case "endless": {
      const piece = framed(
        body.length > 1_000 ? body : Buffer.alloc(16_384, body.length > 0 ? body : " "),
        length,
        false,
      );
      socket.write(headOf({ ...reply, length: length === "chunked" ? "chunked" : "none" }));
      for (let sent = 0; alive() && sent < FLOOD_MOST; sent += piece.length) {
        if (!socket.write(piece)) await new Promise((resolve) => socket.once("drain", resolve).once("close", resolve));
      }
      socket.destroy();
      return;
    }
    case "in pieces": {
      const whole = Buffer.concat([Buffer.from(headOf(reply)), framed(body, length, true)]);
      const step = Math.max(7, Math.ceil(whole.length / 20));
      for (let at = 0; alive() && at < whole.length; at += step) {
        socket.write(whole.subarray(at, at + step));
        await new Promise((resolve) => setImmediate(resolve));
      }
      break;
    }
    case "at once":
      socket.write(Buffer.concat([Buffer.from(headOf(reply)), framed(body, length, true)]));
      break;
  }
  if (length === "none" || length === "too long") socket.end();
}

/** Whether a request has arrived as a whole: our client always tells its length. */
function hasArrived(received: Buffer): boolean {
  const end = received.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const length = /content-length: (\d+)/i.exec(received.toString("latin1", 0, end))?.[1] ?? "0";
  return received.length >= end + 4 + Number(length);
}

/**
 * A server below HTTP, so that it can say what no HTTP server would. `reply` is what the next calls get; each connection
 * takes one call. Ends with the test.
 */
export async function startHostile() {
  let reply: Hostile | undefined;
  let arrived = 0;
  let sentBytes = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket
      .on("error", () => {})
      .on("close", () => {
        sentBytes = Math.max(sentBytes, socket.bytesWritten);
        sockets.delete(socket);
      });
    let received = Buffer.alloc(0);
    let isAnswered = false;
    socket.on("data", (piece: Buffer) => {
      if (isAnswered) return;
      received = Buffer.concat([received, piece]);
      if (!reply || !(reply.early || hasArrived(received))) return;
      isAnswered = true;
      arrived += 1;
      void sendHostile(socket, reply);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const hangUp = () => {
    for (const socket of sockets) socket.destroy();
  };
  onTestFinished(async () => {
    hangUp();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** What is answered from now on; counters start anew. */
    say(next: Hostile): void {
      hangUp();
      reply = next;
      arrived = 0;
      sentBytes = 0;
    },
    arrived: () => arrived,
    /** The most that one connection took, at the kernel's door; as far as is known by now. */
    sentBytes: () => Math.max(sentBytes, ...[...sockets].map((socket) => socket.bytesWritten), 0),
  };
}
