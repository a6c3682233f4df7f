import type { DocumentUid, ImageUid, RequestPk, Signer, TokenUid, VideoIdPk } from "../core/signing.ts";
import type { Appearance } from "../core/signing.ts";
import type { Download } from "./download.ts";
import type { UploadFile } from "./multipart.ts";
import type { FileToSend } from "./sending.ts";
import type { CreatedRequest, CreatedVideoId, ProviderRequest, StoredImage, StoredToken } from "./wire.ts";

/**
 * The RAO in whose name we approve and refuse. A token stands for stored credentials; it is no bearer token. Where it
 * was stored without password and pin, these go beside it. @source docs/provider.md §Tokens
 */
export type Rao = { rao: string } & (
  | { token: string; password?: string | undefined; pin?: string | undefined }
  | { username: string; password: string; pin: string }
);

/** Which of the provider's two worlds a call belongs to. */
export type Environment = "sandbox" | "prod";

/**
 * On whose account a call runs. It travels with every call that takes it, because the provider's own defaults are
 * shared by all its callers and change with each call. @source docs/provider.md §Account
 */
export interface Account {
  /** Sent where a call takes it, when given. */
  env?: Environment | undefined;
  /** These four may be left out where the provider has them in its own settings file. */
  registrationAuthority?: string | undefined;
  profile?: string | undefined;
  billingUsername?: string | undefined;
  /** Plain; it is sent in Base64. */
  billingPassword?: string | undefined;
  rao: Rao;
}

/**
 * What Create takes: the signer as the registration knows them, pictures of the identity document, and how the request
 * is signed. Everything in it is personal data. @source docs/provider.md §Create
 */
export interface RequestCreation {
  signer: RequestSigner;
  documents: IdentityDocuments;
  /** Signing answers at once, and the work is done afterwards; `callback` is told then. */
  asynchronous?: { callback?: string | undefined } | undefined;
}

export interface RequestSigner {
  email: string;
  mobile_phone_number: string;
  given_name: string;
  surname_1: string;
  surname_2?: string | undefined;
  /** Number of the identity document. */
  serial_number?: string | undefined;
  /** The provider takes IDC and ES for one that is left out. */
  id_document_type?: "IDC" | "PAS" | "PNO" | "TIN" | "CI" | "CE" | undefined;
  id_document_country?: string | undefined;
  communication_language?: "ES" | "PL" | "EN" | undefined;
  /** Certain profiles only. */
  residence?: string | undefined;
  residence_city?: string | undefined;
  residence_postal_code?: string | undefined;
  residence_address?: string | undefined;
  special_conditions?: string | undefined;
}

/** The files of Create, by the name of their part. Without front and rear the approval inside the call fails. */
export interface IdentityDocuments {
  document_front?: Picture | undefined;
  document_rear?: Picture | undefined;
  /** The signer, holding the document. */
  document_owner?: Picture | undefined;
  extra_document?: FileToSend | undefined;
}

export interface Picture extends FileToSend {
  contentType: "image/jpeg" | "image/png";
}

/**
 * An identification that was done elsewhere, in the provider's words. Pictures are files, sent in Base64 while they are
 * read. @source docs/provider.md §Evidences
 */
export interface Evidences {
  /** What the signer agreed to, where and when. */
  acceptance?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  videoid_data: {
    images: {
      document_front?: Picture | undefined;
      document_rear?: Picture | undefined;
      /** The portrait, cut from the document. */
      document_photo?: Picture | undefined;
      /** The signer. */
      document_owner?: Picture | undefined;
    };
    ocr_data: {
      given_name: string;
      surname_1: string;
      surname_2?: string | undefined;
      serial_number: string;
      mobile_phone_number?: string | undefined;
      email?: string | undefined;
      id_document_type?: "IDC" | "PAS" | "PNO" | "TIN" | undefined;
      id_document_country?: string | undefined;
    };
    /** liveliness, documents_match, …: what was looked at, and whether it held. */
    security_checks?: Readonly<Record<string, boolean>> | undefined;
    /** From 0 to 100, or a word such as "high". */
    similarity_level?: number | string | undefined;
  };
}

/** Credentials of a RAO to be stored. Password and pin may stay out; each call that needs them brings them then. */
export interface TokenCreation {
  username: string;
  password?: string | undefined;
  pin?: string | undefined;
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

export interface OtpOptions extends CallOptions {
  /** How the code travels; a text message where it is left out. Known from the first generation only. */
  deliveryMethod?: "sms" | "whatsapp" | undefined;
}

export interface DocumentOptions extends CallOptions {
  /** What was uploaded: of a hash, the signed document is a CMS structure and the original is JSON. A PDF if left out. */
  kind?: "pdf" | "hash" | undefined;
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
  /**
   * Registers a request without video identification, and has the RAO approve it within the call. "invalid-input" says
   * in `fields` what is wrong with each; an effect of "unknown" means that a registered request may be left behind.
   * Throws "document-changed" and "document-unreadable" as uploads do.
   */
  createRequest(creation: RequestCreation, account: Account, options?: CallOptions): Promise<CreatedRequest>;
  /** Gives the data and pictures of an identification that was done elsewhere. */
  uploadEvidences(videoidPk: VideoIdPk, evidences: Evidences, options?: CallOptions): Promise<void>;
  /** Gives the film of an identification that was done elsewhere. */
  uploadVideo(videoidPk: VideoIdPk, video: FileToSend, options?: CallOptions): Promise<void>;
  /** The film of an identification: whatever is neither JSON nor a page. "not-found": there is none. */
  downloadVideo(videoidPk: VideoIdPk, options?: CallOptions): Promise<Download>;
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
   * Uploads up to ten documents and gives their uids in the same order; in one call, unless there are several hashes,
   * of which each after the first takes one of its own. Throws "document-changed" when a
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
  signedDocument(requestPk: RequestPk, uid: DocumentUid, options?: DocumentOptions): Promise<Download>;
  originalDocument(requestPk: RequestPk, uid: DocumentUid, options?: DocumentOptions): Promise<Download>;
  /** Has a code sent to the signer's phone. "otp-too-soon": one was sent less than a minute ago. */
  otp(requestPk: RequestPk, options?: OtpOptions): Promise<void>;
  /** Signs every document; "accepted" when the work is still to be done. "already-issued": it was signed before. */
  sign(requestPk: RequestPk, signing: Signing, options?: CallOptions): Promise<"signed" | "accepted">;
  /** Stores a RAO's credentials. "token-exists": these are stored already, and nobody tells under which uid. */
  createToken(credentials: TokenCreation, account: Pick<Account, "env">, options?: CallOptions): Promise<TokenUid>;
  /** What is stored under a token; never the secrets themselves. */
  getToken(uid: TokenUid, options?: CallOptions): Promise<StoredToken>;
  /** Deletes a token; "absent" when it was not there any more. */
  deleteToken(uid: TokenUid, options?: CallOptions): Promise<"deleted" | "absent">;
  /** All tokens; the hosted sandbox shows its own one only. */
  listTokens(options?: CallOptions): Promise<StoredToken[]>;
  /** Stores a PNG for visible signatures. */
  uploadImage(image: FileToSend & { contentType: "image/png" }, options?: CallOptions): Promise<ImageUid>;
  /** The PNG as it was stored. */
  getImage(uid: ImageUid, options?: CallOptions): Promise<Download>;
  /** Deletes an image; "absent" when it was not there any more. */
  deleteImage(uid: ImageUid, options?: CallOptions): Promise<"deleted" | "absent">;
  /** Deletes every image, whoever stored it. Known from the first generation only. */
  deleteImages(options?: CallOptions): Promise<"deleted" | "absent">;
  /** All images. Known from the first generation only. */
  listImages(options?: CallOptions): Promise<StoredImage[]>;
  /** Whether anything answers, by a call without effect. Never throws. */
  ping(options?: CallOptions): Promise<Ping>;
  /** Ends all calls under way and closes the connections. */
  close(): Promise<void>;
}
