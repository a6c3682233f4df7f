import type { DocumentUid, RequestPk, Signer, VideoIdPk } from "../core/signing.ts";
import type { Appearance } from "../core/signing.ts";
import type { Download } from "./download.ts";
import type { UploadFile } from "./multipart.ts";
import type { CreatedVideoId, ProviderRequest } from "./wire.ts";

/** The RAO in whose name we approve and refuse. A token stands for stored credentials; it is no bearer token. */
export type Rao = { rao: string } & ({ token: string } | { username: string; password: string; pin: string });

/**
 * On whose account a call runs. It travels with every call that takes it, because the provider's own defaults are
 * shared by all its callers and change with each call. @source docs/provider.md §Account
 */
export interface Account {
  /** These four may be left out where the provider has them in its own settings file. */
  registrationAuthority?: string | undefined;
  profile?: string | undefined;
  billingUsername?: string | undefined;
  /** Plain; it is sent in Base64. */
  billingPassword?: string | undefined;
  rao: Rao;
}

/** What Update Request takes. The scratchcard is read with getRequest. @source docs/provider.md §Update Request */
export interface RequestUpdate {
  scratchcard: string;
  email: string;
  profile: string;
  registration_authority: string;
  country_name: string;
  given_name?: string | undefined;
  surname_1?: string | undefined;
  surname_2?: string | undefined;
  birth_date?: string | undefined;
  mobile_phone_number?: string | undefined;
  serial_number?: string | undefined;
}

/** What Sign takes: the code, or an operation at the customer, or all of it. @source docs/provider.md §Sign */
export interface Signing {
  secret?: string | undefined;
  ext_unlock_type?: string | undefined;
  ext_unlock_value?: string | undefined;
  appearance?: Appearance | undefined;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export type Ping = { latencyMs: number } & ({ reachable: true; status: number } | { reachable: false; code: string });

/**
 * The provider's calls, one function each. None repeats anything by itself. Each throws RetryableError or
 * PermanentError with the codes of the ANSWERS table, "unreachable", "no-answer" or "unexpected-answer"; `effect` says
 * whether the call may have worked all the same.
 */
export interface Provider {
  /** Registers a request and gets the signer's link. Of the signer, only these two fields are part of this call. */
  createVideoId(
    signer: Pick<Signer, "email" | "mobile_phone_number">,
    account: Account,
    options?: CallOptions,
  ): Promise<CreatedVideoId>;
  /** Reads a request. Throws "unexpected-answer" when the answer is about another one. */
  getRequest(requestPk: RequestPk, options?: CallOptions): Promise<ProviderRequest>;
  /** Corrects the signer's data before approval. */
  updateRequest(requestPk: RequestPk, update: RequestUpdate, options?: CallOptions): Promise<void>;
  /** Validates and approves, in the RAO's name. */
  approve(videoidPk: VideoIdPk, rao: Rao, options?: CallOptions): Promise<void>;
  /** Refuses, in the RAO's name. The reason must not be blank: "invalid-input". */
  refuse(videoidPk: VideoIdPk, rao: Rao, reason: string, options?: CallOptions): Promise<void>;
  /** Cancels a request that is not issued; its documents go with it. */
  cancel(requestPk: RequestPk, options?: CallOptions): Promise<void>;
  /**
   * Uploads up to ten documents in one call and gives their uids in the same order. Throws "document-changed" when a
   * file's bytes differ from its size or digest, "document-unreadable", "document-rejected", and "unexpected-answer"
   * when it is not certain which uid is whose; after each of these something may have been stored.
   */
  upload(requestPk: RequestPk, files: readonly UploadFile[], options?: CallOptions): Promise<DocumentUid[]>;
  /** Deletes a document; "absent" when it was not there any more. */
  deleteDocument(requestPk: RequestPk, uid: DocumentUid, options?: CallOptions): Promise<"deleted" | "absent">;
  /** Deletes all documents of a request; "absent" when there were none. */
  deleteDocuments(requestPk: RequestPk, options?: CallOptions): Promise<"deleted" | "absent">;
  /** The service contract, to be shown to the signer. */
  contract(requestPk: RequestPk, options?: CallOptions): Promise<Download>;
  signedDocument(requestPk: RequestPk, uid: DocumentUid, options?: CallOptions): Promise<Download>;
  originalDocument(requestPk: RequestPk, uid: DocumentUid, options?: CallOptions): Promise<Download>;
  /** Has a code sent to the signer's phone. "otp-too-soon": one was sent less than a minute ago. */
  otp(requestPk: RequestPk, options?: CallOptions): Promise<void>;
  /** Signs every document; "accepted" when the work is still to be done. "already-issued": it was signed before. */
  sign(requestPk: RequestPk, signing: Signing, options?: CallOptions): Promise<"signed" | "accepted">;
  /** Whether anything answers, by a call without effect. Never throws. */
  ping(options?: CallOptions): Promise<Ping>;
  /** Ends all calls under way and closes the connections. */
  close(): Promise<void>;
}
