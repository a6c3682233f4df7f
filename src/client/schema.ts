/**
 * What goes to the API and comes from it. Made from the schemas by which the API itself reads and answers; do not edit:
 * `npm run docs` writes it.
 */

/** What is happening to a request. The last five are ends. */
export type State =
  | "queued"
  | "running"
  | "waiting"
  | "retrying"
  | "done"
  | "refused"
  | "cancelled"
  | "expired"
  | "failed";

/** What a request may wait for, in the words of `waiting.for`. */
export type WaitingFor =
  | "identification"
  | "approval"
  | "validation"
  | "code"
  | "another code"
  | "a new OTP"
  | "word of the creation"
  | "outcome of the decision"
  | "outcome of the restart"
  | "outcome of the upload"
  | "outcome of the signing"
  | "certificate"
  | "contract"
  | "signed documents"
  | "accepted RAO credentials"
  | "an accepted billing account"
  | "a configured tenant"
  | "room on the disk"
  | "a disk that can be written to"
  | "the grace before deletion";

/** Every code with which the API refuses a call. */
export type ProblemCode =
  | "invalid-request"
  | "invalid-http"
  | "invalid-json"
  | "bad-state"
  | "bad-cursor"
  | "invalid-multipart"
  | "unknown-part"
  | "manifest-missing"
  | "manifest-repeated"
  | "no-documents"
  | "too-many-documents"
  | "invalid-idempotency-key"
  | "table-missing"
  | "part-repeated"
  | "webhook-unreadable"
  | "unauthorized"
  | "not-for-this-key"
  | "not-found"
  | "no-such-request"
  | "no-such-batch"
  | "no-such-notification"
  | "no-such-enclosure"
  | "no-video"
  | "no-such-document"
  | "method-not-allowed"
  | "not-acceptable"
  | "request-timeout"
  | "not-possible-now"
  | "already-decided"
  | "signer-erased"
  | "batch-erased"
  | "nothing-to-retry"
  | "too-late"
  | "contended"
  | "otp-too-many"
  | "not-signed-yet"
  | "idempotency-in-progress"
  | "too-large"
  | "uri-too-long"
  | "unsupported-media-type"
  | "not-a-pdf"
  | "expectation-failed"
  | "unusable-pdf"
  | "document-host-not-allowed"
  | "document-not-fetched"
  | "document-differs"
  | "hash-file-invalid"
  | "invalid-manifest"
  | "enclosure-missing"
  | "enclosure-not-named"
  | "unusable-enclosure"
  | "table-unreadable"
  | "table-columns"
  | "table-empty"
  | "too-many-rows"
  | "no-good-row"
  | "auto-approval-not-allowed"
  | "callback-not-allowed"
  | "unknown-tenant"
  | "unknown-rao"
  | "idempotency-mismatch"
  | "otp-too-soon"
  | "quota-exceeded"
  | "too-many-streams"
  | "headers-too-large"
  | "internal"
  | "record-damaged"
  | "result-damaged"
  | "redis-unavailable"
  | "redis-away"
  | "redis-full"
  | "document-host-unreachable"
  | "video-unavailable"
  | "too-busy"
  | "disk-read-only"
  | "disk-error"
  | "disk-full";

export interface Manifest {
  /** How the signer is identified: on video at the provider (videoid), or by you, with evidences of it (videoid-external) or copies of the identity document (classic). */
  workflow?: "videoid" | "videoid-external" | "classic" | undefined;
  /** Your own id; requests can be looked up by it. */
  reference?: string | undefined;
  /** Who signs. Encrypted as soon as it is read, and never shown again. */
  signer: {
    email: string;
    mobile_phone_number: string;
    given_name?: string | undefined;
    surname_1?: string | undefined;
    surname_2?: string | undefined;
    serial_number?: string | undefined;
    id_document_type?: "IDC" | "PAS" | "PNO" | "TIN" | "CI" | "CE" | undefined;
    id_document_country?: string | undefined;
    communication_language?: "ES" | "PL" | "EN" | undefined;
    residence?: string | undefined;
    residence_city?: string | undefined;
    residence_postal_code?: string | undefined;
    residence_address?: string | undefined;
    special_conditions?: string | undefined;
  };
  /** How you identified the signer. For videoid-external and classic. */
  identity?: {
    document_front?: string | undefined;
    document_rear?: string | undefined;
    document_photo?: string | undefined;
    document_owner?: string | undefined;
    extra_document?: string | undefined;
    video?: string | undefined;
    acceptance?: {
      description?: string | undefined;
      "url-doc-privacypolicy"?: string | undefined;
      "url-doc-termsconditions"?: string | undefined;
      "url-web-videoid"?: string | undefined;
      ip?: string | undefined;
      "user-agent"?: string | undefined;
      /** Milliseconds since 1970, or text. */
      date?: number | string | undefined;
    } | undefined;
    ocr_data?: {
      given_name: string;
      surname_1: string;
      surname_2?: string | undefined;
      mobile_phone_number?: string | undefined;
      email?: string | undefined;
      serial_number: string;
      id_document_type?: "IDC" | "PAS" | "PNO" | "TIN" | undefined;
      id_document_country?: string | undefined;
    } | undefined;
    security_checks?: Partial<Record<"otp_validation" | "documents_match" | "data_integrity" | "document_notcopy" | "document_notexpired" | "document_notunderage" | "liveliness", boolean>> | undefined;
    similarity_level?: "low" | "medium" | "high" | number | undefined;
  } | undefined;
  /** Have the provider sign in the background; for classic only. Good for many or large documents. */
  useasync?: boolean | undefined;
  /** How the signer confirms: a code by SMS, or an operation of yours (external). */
  authentication?: {
    method: "sms";
    delivery_method?: "sms" | "whatsapp" | undefined;
  } | {
    method: "external";
    type: string;
    value: string;
    secret?: string | undefined;
  } | undefined;
  /** On whose account: one of those in TENANTS_FILE; default: the one of the ONESHOT_* settings. */
  tenant?: string | undefined;
  /** Which of the tenant's registration officers stands for the decision at the provider, by name; default: the first. */
  rao?: string | undefined;
  /** Certificate profile; default: the tenant's, or ONESHOT_PROFILE. */
  profile?: string | undefined;
  /** Number of the registration authority; default: the tenant's, or ONESHOT_REGISTRATION_AUTHORITY. */
  registration_authority?: string | number | undefined;
  signature?: {
    /** What comes back: the PDF, signed (pades, the default), or a signature apart for a file of any kind (cms): only the file's hash leaves here. */
    format?: "pades" | "cms" | undefined;
    /** How the signature looks on the page, or the name of a template for it. Not with format cms. */
    appearance?: string | {
      text?: string[] | undefined;
      date?: string | undefined;
      timezone?: string | undefined;
      /** "x1, y1, x2, y2" in points from the lower left corner. */
      position: string;
      /** 0 is the first page. */
      page?: number | undefined;
      /** A PNG in APPEARANCE_DIR by its name, or an image at the provider by its uid. */
      image?: string | undefined;
      horizontal?: boolean | undefined;
    } | undefined;
  } | undefined;
  /** Who approves the identification: a RAO (manual), or nobody (auto). */
  approval?: "manual" | "auto" | undefined;
  /** Told whenever the request waits for somebody, and when it ends. An https address; http only at hosts that the operator allowed. */
  callback_url?: string | undefined;
}

export interface DocumentByAddress {
  /** Where it is. Fetched at once, by https, from hosts that the operator allows. */
  url: string;
  /** What it must be, in hexadecimal; otherwise nothing is accepted. */
  sha256?: string | undefined;
  /** Its file name for people; the last part of the address if left out. */
  name?: string | undefined;
}

export interface Correction {
  email?: string | undefined;
  mobile_phone_number?: string | undefined;
  given_name?: string | undefined;
  surname_1?: string | undefined;
  surname_2?: string | undefined;
  serial_number?: string | undefined;
  birth_date?: string | undefined;
  country_name?: string | undefined;
}

export interface Request {
  id: string;
  workflow: string;
  /** The step it is at. */
  stage: string;
  /** What is happening at that step. */
  phase: State;
  /** The same in one word for people. */
  state: State;
  /** The caller's own id. */
  reference?: string | undefined;
  /** On whose account, when it is not the default one. */
  tenant?: string | undefined;
  /** Where it stands among the requests that were handed in together. */
  group?: {
    /** The id of the first of them. */
    id: string;
    /** The nth. */
    n: number;
    /** Of so many. */
    of: number;
  } | undefined;
  /** Which row of which batch it is. */
  batch?: {
    id: string;
    row: number;
  } | undefined;
  /** Whose turn it is, and until when, while the state is waiting. */
  waiting?: {
    for: string;
    /** ISO 8601, UTC, with milliseconds. */
    since: string;
    /** ISO 8601, UTC, with milliseconds. */
    until: string;
    /** More about it, in one sentence or a word of the provider's. */
    detail?: string | undefined;
  } | undefined;
  /** Why it ended otherwise than done, or why its last attempt did not succeed. */
  failure?: {
    code: string;
    message: string;
  } | undefined;
  /** What the state does not say: that it was signed although it was to end otherwise, or that cleaning up after it was given up. */
  notice?: {
    code: string;
    message: string;
  } | undefined;
  documents: {
    /** The file name it came with, for people. */
    name: string;
    /** Of the bytes that were handed in. */
    sha256: string;
    /** Of the signed PDF, or of the signature apart, once it is stored and verified. */
    signed_sha256?: string | undefined;
  }[];
  /** The files with which it was shown who the signer is. They are erased with the end of the request. */
  enclosures?: {
    /** What it shows. What its file was called is not kept. */
    name: "document_front" | "document_rear" | "document_photo" | "document_owner" | "extra_document" | "video";
    content_type: string;
    size_bytes: number;
  }[] | undefined;
  /** The provider's number for it. */
  request_pk?: number | undefined;
  /** The provider's numbers for it before it was begun anew, oldest first; cancelled there. */
  former_request_pks?: number[] | undefined;
  /** Where the signer identifies himself or herself. */
  videoid_link?: string | undefined;
  /** How often somebody asked to remind the signer of the identification. */
  reminders?: {
    count: number;
    /** ISO 8601, UTC, with milliseconds. */
    last_at: string;
  } | undefined;
  /** The last correction or new beginning that was asked for, and what came of it. */
  order?: {
    kind: "correction" | "restart";
    outcome: "pending" | "taken" | "refused";
    /** Why it was refused. */
    code?: string | undefined;
    /** What was to be corrected. */
    fields?: string[] | undefined;
    /** ISO 8601, UTC, with milliseconds. */
    at: string;
  } | undefined;
  /** ISO 8601, UTC, with milliseconds. */
  created_at: string;
  /** ISO 8601, UTC, with milliseconds. */
  updated_at: string;
}

export interface RequestList {
  /** Newest first. */
  items: Request[];
  /** Give it as cursor for the next page; null on the last one. */
  next_cursor: string | null;
}

export interface History {
  items: {
    /** ISO 8601, UTC, with milliseconds. */
    at: string;
    event: string;
    stage: string;
    phase: string;
    /** Who caused it, when it was somebody outside: api:<key name>, webhook, inbox. */
    by?: string | undefined;
    note?: string | undefined;
  }[];
}

export interface Accepted {
  id: string;
  /** The state in which it was accepted. */
  state: State;
  links: {
    self: string;
    history: string;
    remind: string;
    correct: string;
    restart: string;
    approve: string;
    refuse: string;
    code: string;
    resend_code: string;
    cancel: string;
    retry: string;
    contract: string;
    /** One for each document, in the order they were sent. */
    signed_documents: string[];
  };
  /** When there were more documents than one request takes; id and links are those of the first. */
  group?: {
    id: string;
    /** All of its requests, the first one first. */
    requests: string[];
  } | undefined;
}

export interface FieldError {
  field: string;
  message: string;
}
