import { isFailure, PermanentError, RetryableError } from "../core/errors.ts";
import type { DocumentUid, RequestPk } from "../core/signing.ts";
import type { Log } from "../core/stage.ts";
import { type CallName, nameOf, type PathIds } from "./calls.ts";
import { type Download, download } from "./download.ts";
import { unexpected } from "./errors.ts";
import type { Guard } from "./guard.ts";
import { createHttp, type Sending } from "./http.ts";
import { toMultipart, type UploadFile } from "./multipart.ts";
import type { CallOptions, Provider, Rao } from "./provider.ts";
import { toUids } from "./uploaded.ts";
import { isAccepted, type ProviderRequest, readCreated, readRequest, readUpload } from "./wire.ts";

export type { Account, Provider } from "./provider.ts";
export type { ProviderRequest } from "./wire.ts";

export interface ProviderOptions {
  /** With the base path, for example https://host/oneshot/api/v1. */
  url: string;
  /** Sent with Create VideoID when given. */
  env?: "sandbox" | "prod" | undefined;
  /** Calls under way at once; more wait their turn. */
  connections?: number | undefined;
  timeoutsMs?: Partial<TimeoutsMs> | undefined;
  /** Which of the two published paths of a document is used; "auto" finds out and remembers. */
  retrieval?: "auto" | "seed" | "reference" | undefined;
  maxDocumentBytes?: number | undefined;
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

/** @source docs/provider.md §Retrieval */
type Form = "seed" | "reference";
const RETRIEVAL = {
  signed: { seed: "signedBySeed", reference: "signedByReference" },
  original: { seed: "originalBySeed", reference: "originalByReference" },
} as const satisfies Record<string, Record<Form, CallName>>;

/** A client of one provider. Close it when it is no longer needed. */
export function createProvider(options: ProviderOptions): Provider {
  const { env, retrieval = "auto", maxDocumentBytes = MAX_DOCUMENT_BYTES, log } = options;
  const timeoutsMs = { ...TIMEOUTS_MS, ...options.timeoutsMs };
  const { connections = 100, guard } = options;
  const http = createHttp({ url: new URL(options.url), connections, guard, log });

  function ask(call: CallName, sending: Omit<Sending, "call" | "totalMs"> & { totalMs?: number }) {
    return http.ask({ call, totalMs: timeoutsMs.call, ...sending });
  }

  function fetchPdf(call: CallName, ids: PathIds, { signal }: CallOptions) {
    const { transferIdle: idleMs, transferTotal: totalMs } = timeoutsMs;
    return download(http, { call, ids, signal, idleMs, totalMs }, maxDocumentBytes);
  }

  /** The form that has worked, or else the first to try: the seed gives one for signed documents only. */
  const forms =
    retrieval === "auto" ? { signed: "seed", original: "reference" } : { signed: retrieval, original: retrieval };

  async function retrieve(kind: keyof typeof RETRIEVAL, ids: PathIds, call: CallOptions): Promise<Download> {
    const form = forms[kind] as Form;
    try {
      return await fetchPdf(RETRIEVAL[kind][form], ids, call);
    } catch (error) {
      if (retrieval !== "auto" || !isFailure(error, "not-found", "call-unknown")) throw error;
      const other: Form = form === "seed" ? "reference" : "seed";
      const found = await fetchPdf(RETRIEVAL[kind][other], ids, call).catch((second: unknown) => {
        // Both forms failed: the answer that is about the document says more than the one about the path.
        throw isFailure(second, "call-unknown") ? error : second;
      });
      forms[kind] = other;
      log?.info({ kind, form: other }, "document retrieval form found");
      return found;
    }
  }

  /**
   * A document that is not there is what a delete is for, whoever removed it. An answer that does not say what is not
   * there is believed once the request itself could be asked for: the base path is right then.
   */
  async function remove(
    call: CallName,
    ids: PathIds & { request_pk: RequestPk },
    { signal }: CallOptions,
  ): Promise<"deleted" | "absent"> {
    try {
      await ask(call, { ids, signal });
      return "deleted";
    } catch (error) {
      if (isFailure(error, "not-found")) return "absent";
      if (!isFailure(error, "path-unknown")) throw error;
      await getRequest(ids.request_pk, { signal }).catch((second: unknown) => {
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
      const { billingUsername, billingPassword } = account;
      const billing_password = billingPassword && Buffer.from(billingPassword, "utf8").toString("base64");
      const { body } = await ask("createVideoId", {
        json: {
          mobile_phone_number,
          email,
          registration_authority: account.registrationAuthority,
          profile: account.profile,
          billing_username: billingUsername,
          billing_password,
          ...(env && { env }),
        },
        secrets: [email, mobile_phone_number, billingUsername, billingPassword, billing_password].filter(
          (value) => value !== undefined,
        ),
        credentials: { lane: "billing", secrets: [billingUsername ?? "", billingPassword ?? ""] },
        signal,
      });
      const created = readCreated(body);
      if (!created) throw unexpected("createVideoId", "no request_pk and videoid_pk");
      return created;
    },

    getRequest,

    async updateRequest(requestPk, update, { signal } = {}) {
      const { profile, registration_authority, country_name, ...personal } = update;
      const secrets = Object.values(personal).filter((value) => value !== undefined);
      const json = { ...personal, profile, registration_authority, country_name };
      await ask("updateRequest", { ids: { request_pk: requestPk }, json, secrets, signal });
    },

    async approve(videoidPk, rao, { signal } = {}) {
      const secrets = secretsOf(rao);
      const credentials = { lane: "rao" as const, secrets: [rao.rao, ...secrets] };
      await ask("approve", { ids: { videoid_pk: videoidPk }, json: toRaoBody(rao), secrets, credentials, signal });
    },

    async refuse(videoidPk, rao, reason, { signal } = {}) {
      if (!reason.trim()) {
        throw new PermanentError("A refusal needs a reason: give one that is not blank.", { code: "invalid-input" });
      }
      // The reason is a person's free text and may name the signer.
      const secrets = [...secretsOf(rao), reason];
      const credentials = { lane: "rao" as const, secrets: [rao.rao, ...secretsOf(rao)] };
      const json = { ...toRaoBody(rao), reason };
      await ask("refuse", { ids: { videoid_pk: videoidPk }, json, secrets, credentials, signal });
    },

    async cancel(requestPk, { signal } = {}) {
      await ask("cancel", { ids: { request_pk: requestPk }, signal });
    },

    async upload(requestPk, files, { signal } = {}) {
      return upload(requestPk, files, signal);
    },

    deleteDocument: (requestPk, uid, call = {}) => remove("deleteDocument", idsOf(requestPk, uid), call),
    deleteDocuments: (requestPk, call = {}) => remove("deleteDocuments", { request_pk: requestPk }, call),

    contract: (requestPk, call = {}) => fetchPdf("contract", { request_pk: requestPk }, call),
    signedDocument: (requestPk, uid, call = {}) => retrieve("signed", idsOf(requestPk, uid), call),
    originalDocument: (requestPk, uid, call = {}) => retrieve("original", idsOf(requestPk, uid), call),

    async otp(requestPk, { signal } = {}) {
      await ask("otp", { ids: { request_pk: requestPk }, signal });
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

  async function upload(requestPk: RequestPk, files: readonly UploadFile[], signal: AbortSignal | undefined) {
    if (files.length === 0)
      throw new PermanentError(`${nameOf("upload")} needs a document.`, { code: "invalid-input" });
    const multipart = toMultipart(files);
    // A file's name is personal data often enough: "contract Ana Lopez.pdf".
    const secrets = files.map(({ name }) => name);
    const { transferIdle: idleMs, transferTotal: totalMs } = timeoutsMs;
    const sending = { ids: { request_pk: requestPk }, stream: multipart, secrets, signal, idleMs, totalMs };
    const { body } = await ask("upload", sending).catch((error: unknown) => {
      throw multipart.failure() ?? error;
    });
    return toUids(readUpload(body), files, secrets);
  }
}

function idsOf(request_pk: RequestPk, document_uid: DocumentUid) {
  return { request_pk, document_uid };
}

/** The two forms that Approve and Refuse take. @source docs/provider.md §Approve */
function toRaoBody(rao: Rao): object {
  if ("token" in rao) return { token: rao.token, rao: rao.rao };
  return { username: rao.username, password: rao.password, pin: rao.pin, rao: rao.rao };
}

function secretsOf(rao: Rao): string[] {
  return "token" in rao ? [rao.token] : [rao.username, rao.password, rao.pin];
}
