import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ENCLOSURES, type EnclosureRole } from "../core/identity.ts";
import type { Client, Request } from "./client.ts";
import { isOver, NoAnswer, Refused } from "./client.ts";
import { ageOf, createProgress, describe, type Progress, stageIndex, whatToDo } from "./progress.ts";
import { CliError, EXIT, type Terminal, visible } from "./terminal.ts";
import { toUploadBody } from "./upload-body.ts";

/** The options of `signpipe submit`, as commander gives them. */
export interface SubmitOptions {
  manifest?: string;
  email?: string;
  phone?: string;
  givenName?: string;
  surname1?: string;
  surname2?: string;
  serialNumber?: string;
  idDocumentType?: string;
  idDocumentCountry?: string;
  workflow?: string;
  documentFront?: string;
  documentRear?: string;
  documentPhoto?: string;
  documentOwner?: string;
  extraDocument?: string;
  video?: string;
  reference?: string;
  tenant?: string;
  rao?: string;
  auth?: string;
  format?: string;
  appearance?: string;
  approval?: string;
  idempotencyKey?: string;
  wait?: boolean;
  json?: boolean;
}

/** How often a waited-for request is read, in milliseconds: often at first, because most steps are short. */
const LOOK_LEAST_MS = 300;
const LOOK_MOST_MS = 5_000;
/** Silence is borne this long while waiting: the API may be restarted meanwhile. */
const SILENCE_MOST_MS = 120_000;

/** The manifest from a file or from options; options win over the file. Throws CliError that names what is missing. */
export function toManifest(options: SubmitOptions): Record<string, unknown> {
  const base = options.manifest === undefined ? { workflow: "videoid" } : readObject(options.manifest, "--manifest");
  const signer: Record<string, unknown> = {
    ...(typeof base["signer"] === "object" ? base["signer"] : {}),
    ...defined({
      email: options.email,
      mobile_phone_number: options.phone,
      given_name: options.givenName,
      surname_1: options.surname1,
      surname_2: options.surname2,
      serial_number: options.serialNumber,
      id_document_type: options.idDocumentType,
      id_document_country: options.idDocumentCountry,
    }),
  };
  if (options.manifest === undefined && !(signer["email"] && signer["mobile_phone_number"])) {
    throw new CliError("Who signs? Give --email and --phone, or --manifest with a file that says so.");
  }
  const signature = {
    ...(typeof base["signature"] === "object" ? base["signature"] : {}),
    ...defined({ format: options.format, appearance: options.appearance }),
  };
  return {
    ...base,
    signer,
    ...(Object.keys(signature).length > 0 && { signature }),
    ...defined({
      workflow: options.workflow,
      reference: options.reference,
      tenant: options.tenant,
      rao: options.rao,
      approval: options.approval,
      authentication: toAuthentication(options.auth),
    }),
    ...(base["authentication"] === undefined && options.auth === undefined && { authentication: { method: "sms" } }),
  };
}

/** A file that shows who the signer is, and where it is on this machine. */
export interface NamedFile {
  role: EnclosureRole;
  path: string;
}

/**
 * The manifest, and the files that it names: beside the manifest's file, or where an option says. They are sent under
 * the name of what they show, so that what they are called here leaves this machine in nobody's log.
 */
export function toSubmission(options: SubmitOptions): { manifest: Record<string, unknown>; files: NamedFile[] } {
  const manifest = toManifest(options);
  const given: Partial<Record<EnclosureRole, string | undefined>> = {
    document_front: options.documentFront,
    document_rear: options.documentRear,
    document_photo: options.documentPhoto,
    document_owner: options.documentOwner,
    extra_document: options.extraDocument,
    video: options.video,
  };
  const { identity } = manifest;
  const named = typeof identity === "object" && identity !== null ? (identity as Record<string, unknown>) : {};
  const beside = options.manifest === undefined || options.manifest === "-" ? "." : dirname(options.manifest);
  const files = ENCLOSURES.flatMap((role): NamedFile[] => {
    const name = named[role];
    if (given[role] !== undefined) return [{ role, path: given[role] }];
    // What is no name of a file is left as it is: the API says of it what must be so.
    return typeof name === "string" && /^[^./\\][^/\\]*$/.test(name) ? [{ role, path: join(beside, name) }] : [];
  });
  if (files.length === 0) return { manifest, files };
  const sentAs = Object.fromEntries(files.map(({ role }) => [role, role]));
  return { manifest: { ...manifest, identity: { ...named, ...sentAs } }, files };
}

/** The JSON object in a file; "-" is standard input. Throws CliError that names `option`. */
export function readObject(path: string, option: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (error) {
    throw new CliError(
      `${visible(path)} cannot be read (${(error as NodeJS.ErrnoException).code ?? "error"}): check ${option}.`,
    );
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below, for anything that is not an object.
  }
  throw new CliError(`${visible(path)} is not a JSON object: see docs/api.md for what ${option} takes.`);
}

/** "sms", "whatsapp", or "external:<type>:<value>" where the value may have colons of its own. */
function toAuthentication(text: string | undefined): Record<string, string> | undefined {
  if (text === undefined) return undefined;
  if (text === "sms") return { method: "sms" };
  if (text === "whatsapp") return { method: "sms", delivery_method: "whatsapp" };
  const [, type, value] = /^external:([^:]+):(.+)$/s.exec(text) ?? [];
  if (type && value) return { method: "external", type, value };
  throw new CliError('--auth must be "sms", "whatsapp" or "external:<type>:<value>".');
}

/** Without what was not given. */
export function defined(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** `signpipe submit`: hands documents in and, with --wait, stays until the request is over. */
export async function submit(
  client: Client,
  terminal: Terminal,
  paths: string[],
  options: SubmitOptions,
  { stages, signal }: { stages: readonly string[]; signal: AbortSignal },
): Promise<number> {
  const { out, err } = terminal;
  const { manifest, files } = toSubmission(options);
  const key = options.idempotencyKey ?? randomUUID();
  const progress = createProgress(err);
  try {
    const title = `uploading ${paths.length === 1 ? "1 document" : `${paths.length} documents`}`;
    const body = toUploadBody(manifest, { paths, files }, (bytes) => progress.set(bytes, body.totalBytes, title));
    const sending = { ...body, headers: { ...body.headers, "idempotency-key": key } };
    const accepted = await client
      .submit(sending, (waitMs) => progress.say(`No answer yet; sending it again in ${waitMs / 1000} s.`))
      .catch((error: unknown) => {
        throw error instanceof NoAnswer ? notCertain(error, key) : error;
      });
    progress.stop();
    const ids = accepted.group?.requests ?? [accepted.id];
    if (!options.wait) {
      if (options.json) out.line(JSON.stringify(accepted, null, 2));
      else {
        for (const id of ids) out.line(id);
        err.line(`Accepted. Follow it with: signpipe ${ids.length > 1 ? "list --group" : "show"} ${accepted.id}`);
      }
      return EXIT.done;
    }
    progress.say(`Accepted as ${ids.join(", ")}.`);
    const requests: Request[] = [];
    for (const id of ids) requests.push(await follow(client, id, { progress, stages, signal }));
    progress.stop();
    if (options.json) out.line(JSON.stringify(accepted.group ? { items: requests } : requests[0], null, 2));
    else {
      for (const request of requests) {
        out.line(request.id);
        err.line(`${request.state === "done" ? "Signed" : describe(request)}, after ${ageOf(request)}.`);
        if (request.notice) err.line(visible(request.notice.message));
      }
    }
    return requests.every(({ state }) => state === "done") ? EXIT.done : EXIT.endedOtherwise;
  } finally {
    progress.stop();
  }
}

function notCertain(error: NoAnswer, key: string): CliError {
  return new CliError(
    `${error.message} Whether the request was accepted is not known: repeat the command with --idempotency-key ${key}, and nothing is made twice.`,
  );
}

/** Reads a request until it is over. Throws CliError when interrupted; the request goes on without us. */
async function follow(
  client: Client,
  id: string,
  { progress, stages, signal }: { progress: Progress; stages: readonly string[]; signal: AbortSignal },
): Promise<Request> {
  let lookMs = LOOK_LEAST_MS;
  let heardMs = Date.now();
  let seen = "";
  let told = "";
  for (;;) {
    try {
      const request = await client.get(id);
      heardMs = Date.now();
      const todo = whatToDo(request) ?? "";
      if (todo && todo !== told) progress.say(`It is your turn: ${todo}`);
      told = todo;
      progress.set(stageIndex(stages, request), stages.length, describe(request));
      if (isOver(request.state)) return request;
      const now = `${request.stage} ${request.state} ${request.updated_at}`;
      lookMs = now === seen ? Math.min(lookMs * 1.5, LOOK_MOST_MS) : LOOK_LEAST_MS;
      seen = now;
    } catch (error) {
      const mayPass = error instanceof NoAnswer || (error instanceof Refused && error.status >= 500);
      if (!mayPass || Date.now() - heardMs > SILENCE_MOST_MS) throw signal.aborted ? leaving(id) : error;
      progress.set(0, stages.length, "no answer from the API; trying again");
      lookMs = LOOK_MOST_MS;
    }
    await pause(lookMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) throw leaving(id);
  }
}

function leaving(id: string): CliError {
  return new CliError(`No longer waiting; the request goes on. Follow it with: signpipe show ${id}`, EXIT.interrupted);
}
