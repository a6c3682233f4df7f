import { isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import type { DocumentUid, RequestPk } from "../core/signing.ts";
import type { Log } from "../core/stage.ts";
import { officerOf, secretsOf, toBilling, toCreation, toEvidences, toLogin } from "./bodies.ts";
import { type CallName, nameOf, type PathIds } from "./calls.ts";
import { type Download, download, type Expected } from "./download.ts";
import { unexpected } from "./errors.ts";
import type { Guard } from "./guard.ts";
import { type Answer, createHttp, type Sending } from "./http.ts";
import { toForm, toMultipart, type UploadFile } from "./multipart.ts";
import type { CallOptions, Provider } from "./provider.ts";
import type { Streamed } from "./sending.ts";
import { createStored } from "./stored.ts";
import { toUids } from "./uploaded.ts";
import { isAccepted, type ProviderRequest, readCreated, readCreatedVideoId, readRequest, readUpload } from "./wire.ts";

export type { Account, Provider } from "./provider.ts";
export type { ProviderRequest } from "./wire.ts";

export interface ProviderOptions {
  /** With the base path, for example https://host/oneshot/api/v1. */
  url: string;
  /** Calls under way at once; more wait their turn. */
  connections?: number | undefined;
  timeoutsMs?: Partial<TimeoutsMs> | undefined;
  /** Which of the two published paths of a document is used; "auto" finds out and remembers. */
  retrieval?: "auto" | "seed" | "reference" | undefined;
  maxDocumentBytes?: number | undefined;
  maxVideoBytes?: number | undefined;
  /** Asked before each call; none when left out. */
  guard?: Guard | undefined;
  log?: Log | undefined;
}

export interface TimeoutsMs {
  /** A whole call, sign and transfers apart. */
  call: number;
  /** A whole sign call: every document is signed before it answers. */
  sign: number;
  /** Silence during an upload or a download. */
  transferIdle: number;
  /** A whole upload or download. */
  transferTotal: number;
}

const TIMEOUTS_MS: TimeoutsMs = { call: 30_000, sign: 180_000, transferIdle: 60_000, transferTotal: 30 * 60_000 };
const MAX_DOCUMENT_BYTES = 2 * 1024 ** 3;
const MAX_VIDEO_BYTES = 2 * 1024 ** 3;

/**
 * What has two paths: the one to try first, and the other. The seed gives one for signed documents only.
 * @source docs/provider.md §Retrieval, §Video
 */
const RETRIEVAL = {
  signed: { seed: "signedBySeed", reference: "signedByReference" },
  original: { reference: "originalByReference", seed: "originalBySeed" },
  video: { reference: "videoByReference", first: "videoByFirst" },
} as const satisfies Record<string, Record<string, CallName>>;
type Retrieved = keyof typeof RETRIEVAL;

/** A client of one provider. Close it when it is no longer needed. */
export function createProvider(options: ProviderOptions): Provider {
  const { retrieval = "auto", log } = options;
  const { maxDocumentBytes = MAX_DOCUMENT_BYTES, maxVideoBytes = MAX_VIDEO_BYTES } = options;
  const timeoutsMs = { ...TIMEOUTS_MS, ...options.timeoutsMs };
  const { connections = 100, guard } = options;
  const http = createHttp({ url: new URL(options.url), connections, guard, log });

  function ask(call: CallName, sending: Omit<Sending, "call" | "totalMs"> & { totalMs?: number }) {
    return http.ask({ call, totalMs: timeoutsMs.call, ...sending });
  }

  /** Sends a body that is read while it leaves. When that broke off here, the reason is told, and not its sequel. */
  async function transfer(call: CallName, stream: Streamed, sending: Omit<Sending, "call" | "totalMs">) {
    const { transferIdle: idleMs, transferTotal: totalMs } = timeoutsMs;
    return await http.ask({ call, stream, idleMs, totalMs, ...sending }).catch((error: unknown): Answer => {
      throw stream.failure() ?? error;
    });
  }

  function fetchFile(
    call: CallName,
    ids: PathIds,
    { signal }: CallOptions,
    { expected = "pdf", maxBytes = maxDocumentBytes }: { expected?: Expected; maxBytes?: number } = {},
  ) {
    const { transferIdle: idleMs, transferTotal: totalMs } = timeoutsMs;
    return download(http, { call, ids, signal, idleMs, totalMs }, { expected, maxBytes });
  }

  /** The calls to try, in this order: the one that has worked comes first. */
  const toTry: Record<Retrieved, readonly CallName[]> = {
    signed: callsFor("signed"),
    original: callsFor("original"),
    video: Object.values(RETRIEVAL.video),
  };

  function callsFor(kind: "signed" | "original"): readonly CallName[] {
    return retrieval === "auto" ? Object.values(RETRIEVAL[kind]) : [RETRIEVAL[kind][retrieval]];
  }

  async function retrieve(kind: Retrieved, fetchBy: (call: CallName) => Promise<Download>): Promise<Download> {
    const [first, other] = toTry[kind] as [CallName, CallName?];
    try {
      return await fetchBy(first);
    } catch (error) {
      if (other === undefined || !isFailure(error, "not-found", "call-unknown")) throw error;
      const found = await fetchBy(other).catch((second: unknown) => {
        // Both forms failed: the answer that is about the document says more than the one about the path.
        throw isFailure(second, "call-unknown") ? error : second;
      });
      toTry[kind] = [other, first];
      log?.info({ kind, form: other }, "retrieval form found");
      return found;
    }
  }

  /**
   * What is not there is what a delete is for, whoever removed it. An answer that does not say what is not there is
   * believed once `lookNear`, a call that reads under the same path, was answered: the base path is right then.
   */
  async function remove(
    call: CallName,
    ids: PathIds,
    { signal }: CallOptions,
    lookNear: () => Promise<unknown>,
  ): Promise<"deleted" | "absent"> {
    try {
      await ask(call, { ids, signal, secrets: given([ids.token_uid]) });
      return "deleted";
    } catch (error) {
      if (isFailure(error, "not-found")) return "absent";
      if (!isFailure(error, "path-unknown")) throw error;
      await lookNear().catch((second: unknown) => {
        if (!isFailure(second, "not-found")) throw isFailure(second, "path-unknown") ? error : second;
      });
      return "absent";
    }
  }

  async function getRequest(requestPk: RequestPk, { signal }: CallOptions = {}): Promise<ProviderRequest> {
    const { body } = await ask("getRequest", { ids: { request_pk: requestPk }, signal });
    const request = readRequest(body, requestPk);
    if (!request) throw unexpected("getRequest", "no status of a request");
    if (request === "another") throw unexpected("getRequest", "another request");
    return request;
  }

  return {
    async createVideoId({ email, mobile_phone_number }, account, { signal } = {}) {
      const { values, secrets, credentials } = toBilling(account);
      const { body } = await ask("createVideoId", {
        json: { mobile_phone_number, email, ...values },
        secrets: [email, mobile_phone_number, ...secrets],
        credentials,
        signal,
      });
      const created = readCreatedVideoId(body);
      if (!created) throw unexpected("createVideoId", "no request_pk and videoid_pk");
      return created;
    },

    async createRequest(creation, account, { signal } = {}) {
      const { stream, secrets } = toCreation(creation, account);
      const credentials = [toBilling(account).credentials, officerOf(account.rao)];
      const { body } = await transfer("createRequest", stream, { secrets, credentials, signal });
      const created = readCreated(body);
      if (!created) throw unexpected("createRequest", "no request_pk");
      return created;
    },

    async uploadEvidences(videoidPk, evidences, { signal } = {}) {
      const { stream, secrets } = toEvidences(evidences);
      await transfer("uploadEvidences", stream, { ids: { videoid_pk: videoidPk }, secrets, signal });
    },

    async uploadVideo(videoidPk, video, { signal } = {}) {
      const stream = toForm("uploadVideo", [{ name: "video", file: video }]);
      await transfer("uploadVideo", stream, { ids: { videoid_pk: videoidPk }, secrets: [video.name], signal });
    },

    downloadVideo(videoidPk, call = {}) {
      const how = { expected: "video", maxBytes: maxVideoBytes } as const;
      return retrieve("video", (form) => fetchFile(form, { videoid_pk: videoidPk }, call, how));
    },

    getRequest,

    async updateRequest(requestPk, update, { signal } = {}) {
      const { profile, registration_authority, country_name, ...personal } = update;
      const secrets = Object.values(personal).filter((value) => value !== undefined);
      const json = { ...personal, profile, registration_authority, country_name };
      await ask("updateRequest", { ids: { request_pk: requestPk }, json, secrets, signal });
    },

    async approve(videoidPk, rao, { signal } = {}) {
      const json = { ...toLogin(rao), rao: rao.rao };
      const [secrets, credentials] = [secretsOf(rao), officerOf(rao)];
      await ask("approve", { ids: { videoid_pk: videoidPk }, json, secrets, credentials, signal });
    },

    async refuse(videoidPk, rao, reason, { signal } = {}) {
      if (!reason.trim()) {
        throw new PermanentError("A refusal needs a reason: give one that is not blank.", { code: "invalid-input" });
      }
      // The reason is a person's free text and may name the signer.
      const secrets = [...secretsOf(rao), reason];
      const credentials = officerOf(rao);
      const json = { ...toLogin(rao), rao: rao.rao, reason };
      await ask("refuse", { ids: { videoid_pk: videoidPk }, json, secrets, credentials, signal });
    },

    async cancel(requestPk, { signal } = {}) {
      await ask("cancel", { ids: { request_pk: requestPk }, signal });
    },

    upload,

    deleteDocument: (requestPk, uid, call = {}) =>
      remove("deleteDocument", idsOf(requestPk, uid), call, () => getRequest(requestPk, call)),
    deleteDocuments: (requestPk, call = {}) =>
      remove("deleteDocuments", { request_pk: requestPk }, call, () => getRequest(requestPk, call)),

    contract: (requestPk, call = {}) => fetchFile("contract", { request_pk: requestPk }, call),

    signedDocument(requestPk, uid, { kind, ...call } = {}) {
      const expected = kind === "hash" ? "cms" : "pdf";
      return retrieve("signed", (form) => fetchFile(form, idsOf(requestPk, uid), call, { expected }));
    },

    originalDocument(requestPk, uid, { kind: expected = "pdf", ...call } = {}) {
      return retrieve("original", (form) => fetchFile(form, idsOf(requestPk, uid), call, { expected }));
    },

    async otp(requestPk, { deliveryMethod, signal } = {}) {
      const json = deliveryMethod && { delivery_method: deliveryMethod };
      await ask("otp", { ids: { request_pk: requestPk }, json, signal });
    },

    async sign(requestPk, { secret, ext_unlock_type, ext_unlock_value, appearance }, { signal } = {}) {
      const { status, body } = await ask("sign", {
        ids: { request_pk: requestPk },
        // JSON leaves out what is undefined.
        json: { secret, ext_unlock_type, ext_unlock_value, ...(appearance && { signature: { appearance } }) },
        secrets: [secret ?? "", ext_unlock_value ?? "", ...(appearance?.text ?? [])],
        signal,
        totalMs: timeoutsMs.sign,
      });
      return isAccepted(status, body) ? "accepted" : "signed";
    },

    ...createStored({ ask, transfer, fetchFile, remove }),

    async ping({ signal } = {}) {
      const startedMs = performance.now();
      const passedMs = () => Math.round(performance.now() - startedMs);
      try {
        const opened = await http.open({
          call: "getRequest",
          ids: { request_pk: 0 },
          totalMs: timeoutsMs.call,
          signal,
          isProbe: true,
        });
        opened.close();
        opened.body.on("error", () => {}).destroy();
        return { reachable: true, status: opened.status, latencyMs: passedMs() };
      } catch (error) {
        return {
          reachable: false,
          code: error instanceof RetryableError ? error.code : "unexpected",
          latencyMs: passedMs(),
        };
      }
    },

    close: http.close,
  };

  /**
   * One call has one hash at the most, because the form has one part for it. What fails after the first call has been
   * answered leaves documents behind.
   */
  async function upload(requestPk: RequestPk, files: readonly UploadFile[], { signal }: CallOptions = {}) {
    if (files.length === 0)
      throw new PermanentError(`${nameOf("upload")} needs a document.`, { code: "invalid-input" });
    const uids: DocumentUid[] = [];
    let answered = 0;
    for (const batch of toBatches(files)) {
      const inBatch = batch.map((index) => files[index] as UploadFile);
      const found = await uploadBatch(requestPk, inBatch, signal).catch((error: unknown): never => {
        throw answered === 0 ? error : inPart(error);
      });
      answered += 1;
      for (const [i, index] of batch.entries()) uids[index] = found[i] as DocumentUid;
    }
    if (new Set(uids).size !== files.length) throw unexpected("upload", "one uid for several documents");
    return uids;
  }

  async function uploadBatch(requestPk: RequestPk, files: readonly UploadFile[], signal: AbortSignal | undefined) {
    // A file's name is personal data often enough: "contract Ana Lopez.pdf".
    const secrets = files.map(({ name }) => name);
    const sending = { ids: { request_pk: requestPk }, secrets, signal };
    const { body } = await transfer("upload", toMultipart(files), sending);
    return toUids(readUpload(body), files, secrets);
  }
}

/** The files of each call, as indices: everything but hashes, with the first hash; then each further hash. */
function toBatches(files: readonly UploadFile[]): number[][] {
  const indices = [...files.keys()];
  const [first, ...others] = indices.filter((index) => files[index]?.kind === "hash");
  const together = indices.filter((index) => !others.includes(index));
  return [first === undefined ? indices : together, ...others.map((index) => [index])];
}

/** The same failure, after a part of the work was done. A pause does not say that, so it is none any more. */
function inPart(error: unknown): unknown {
  if (error instanceof PermanentError) {
    const { message, code, fields } = error;
    return new PermanentError(message, { code, cause: error, effect: "unknown", fields });
  }
  if (!(error instanceof RetryableError)) return error;
  const { message, code, retryAfterMs } = error;
  return new RetryableError(message, {
    code,
    cause: error,
    effect: "unknown",
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

function idsOf(request_pk: RequestPk, document_uid: DocumentUid) {
  return { request_pk, document_uid };
}

function given<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value) => value !== undefined);
}
