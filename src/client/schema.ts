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
  | "more documents"
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

/** How a batch is, as a whole. */
export type BatchState =
  | "canary"
  | "running"
  | "paused"
  | "cancelled"
  | "done";

/** What became of a row of a batch. */
export type RowState =
  | "pending"
  | "rejected"
  | "duplicate"
  | "queued"
  | "running"
  | "waiting"
  | "retrying"
  | "done"
  | "refused"
  | "cancelled"
  | "expired"
  | "failed";

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

export interface BatchColumns {
  /** Name of the file that is signed, or its address (https, of hosts in DOCUMENT_HOSTS); or several: in a table with ";" or new lines between them, in JSON also as a list. */
  files: string | string[];
  /** Your own id; results and requests have it. */
  reference?: string | undefined;
  /** The signer's e-mail address. */
  email?: string | undefined;
  /** The signer's mobile phone, like +34699999999. */
  mobile_phone_number?: string | undefined;
  /** The signer's given name. */
  given_name?: string | undefined;
  /** The signer's surname 1. */
  surname_1?: string | undefined;
  /** The signer's surname 2. */
  surname_2?: string | undefined;
  /** The signer's serial number. */
  serial_number?: string | undefined;
  /** The signer's id document type. */
  id_document_type?: "IDC" | "PAS" | "PNO" | "TIN" | "CI" | "CE" | undefined;
  /** The signer's id document country. */
  id_document_country?: string | undefined;
  /** The signer's communication language. */
  communication_language?: "ES" | "PL" | "EN" | undefined;
  /** The signer's residence. */
  residence?: string | undefined;
  /** The signer's residence city. */
  residence_city?: string | undefined;
  /** The signer's residence postal code. */
  residence_postal_code?: string | undefined;
  /** The signer's residence address. */
  residence_address?: string | undefined;
  /** The signer's special conditions. */
  special_conditions?: string | undefined;
  /** How the signer is identified. */
  workflow?: "videoid" | "videoid-external" | "classic" | undefined;
  /** On whose account. */
  tenant?: string | undefined;
  /** Which of the tenant's registration officers, by name. */
  rao?: string | undefined;
  /** Certificate profile. */
  profile?: string | undefined;
  /** Its number. */
  registration_authority?: string | undefined;
  /** How the signer confirms. */
  authentication?: "sms" | "external" | undefined;
  /** Of an external authentication. */
  authentication_type?: string | undefined;
  /** Of an external authentication. */
  authentication_value?: string | undefined;
  /** Of an external authentication. */
  authentication_secret?: string | undefined;
  /** How the code travels. */
  delivery_method?: "sms" | "whatsapp" | undefined;
  /** Name of a template for the visible signature. */
  appearance?: string | undefined;
  /** What comes back. */
  format?: "pades" | "cms" | undefined;
  /** Who approves the identification. */
  approval?: "manual" | "auto" | undefined;
  /** Told about the row's request. */
  callback_url?: string | undefined;
  /** Signed in the background; classic only. */
  useasync?: boolean | undefined;
  /** Name of a file that shows who the signer is. */
  document_front?: string | undefined;
  /** Name of a file that shows who the signer is. */
  document_rear?: string | undefined;
  /** Name of a file that shows who the signer is. */
  document_photo?: string | undefined;
  /** Name of a file that shows who the signer is. */
  document_owner?: string | undefined;
  /** Name of a file that shows who the signer is. */
  extra_document?: string | undefined;
  /** Name of a file that shows who the signer is. */
  video?: string | undefined;
  /** As read off the identity document; videoid-external only. */
  ocr_given_name?: string | undefined;
  /** As read off the identity document; videoid-external only. */
  ocr_surname_1?: string | undefined;
  /** As read off the identity document; videoid-external only. */
  ocr_surname_2?: string | undefined;
  /** As read off the identity document; videoid-external only. */
  ocr_mobile_phone_number?: string | undefined;
  /** As read off the identity document; videoid-external only. */
  ocr_email?: string | undefined;
  /** As read off the identity document; videoid-external only. */
  ocr_serial_number?: string | undefined;
  /** As read off the identity document; videoid-external only. */
  ocr_id_document_type?: string | undefined;
  /** As read off the identity document; videoid-external only. */
  ocr_id_document_country?: string | undefined;
  /** A check that you made; videoid-external only. */
  check_otp_validation?: boolean | undefined;
  /** A check that you made; videoid-external only. */
  check_documents_match?: boolean | undefined;
  /** A check that you made; videoid-external only. */
  check_data_integrity?: boolean | undefined;
  /** A check that you made; videoid-external only. */
  check_document_notcopy?: boolean | undefined;
  /** A check that you made; videoid-external only. */
  check_document_notexpired?: boolean | undefined;
  /** A check that you made; videoid-external only. */
  check_document_notunderage?: boolean | undefined;
  /** A check that you made; videoid-external only. */
  check_liveliness?: boolean | undefined;
  /** low, medium, high, or 0 to 100; videoid-external only. */
  similarity_level?: "low" | "medium" | "high" | number | undefined;
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
  /** For a request of an inbox that has files for the same signer become one request. */
  bundle?: {
    /** Whether further documents may still join it: until the code leaves. */
    is_open: boolean;
    /** Nothing is uploaded before, unless it is full. */
    waits_until: string;
    /** Documents that it takes in all. */
    most: number;
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

export interface Batch {
  id: string;
  /** What its sender calls it. */
  name?: string | undefined;
  tenant?: string | undefined;
  state: BatchState;
  /** How many turns it gets beside other batches, 1 to 10. */
  priority: number;
  /** What was asked, and is not carried out at every row yet. */
  asked?: "cancel" | "retry" | undefined;
  /** Why it is paused, when nobody asked for it. */
  held?: {
    code: string;
    message: string;
  } | undefined;
  /** Why nothing is submitted at the moment; it goes on by itself. */
  stands?: {
    code: string;
    message: string;
  } | undefined;
  /** How many rows there are. */
  rows: number;
  /** Rows by state, a few seconds old. */
  counts: Record<string, number>;
  /** Rows that are over. */
  over: number;
  /** Rows that wait for somebody: nobody can tell for how long. */
  waiting_for_people: number;
  /** When the rows that wait for nobody will be over, by the pace of the last ten minutes. */
  estimated_finish_at?: string | undefined;
  /** Since then nothing of it can be tried again. */
  rows_erased_at?: string | undefined;
  created_at: string;
  updated_at: string;
  links: {
    self: string;
    rows: string;
    results_csv: string;
    results_json: string;
  };
}

export interface BatchList {
  /** Newest first. */
  items: Batch[];
  /** Give it as cursor for the next page; null on the last one. */
  next_cursor: string | null;
}

export interface BatchReport {
  rows: number;
  /** Rows that are submitted. */
  good: number;
  /** Rows that are not: they are in the results, with what is wrong with them. */
  rejected: number;
  /** By row, as a spreadsheet counts (the header is row 1), and column. The first 200. */
  problems: {
    row: number;
    column: string;
    message: string;
  }[];
  /** Documents that rows name by address: fetched when their row is submitted, and looked at then. */
  to_fetch: number;
  /** Files that were sent and that no row names. The first 20. */
  unused_files: string[];
}

export interface BatchRow {
  /** As a spreadsheet counts: the header is row 1. Of JSON, the first row is 1. */
  row: number;
  reference?: string | undefined;
  files: string[];
  state: RowState;
  code?: string | undefined;
  /** Why, in a sentence. */
  reason?: string | undefined;
  /** The row's request; of a duplicate the one that has the same. */
  request_id?: string | undefined;
  /** Where they are, seen from DATA_DIR. */
  signed_files?: string[] | undefined;
  /** Of each of them. */
  sha256?: string[] | undefined;
  /** The batch whose row it is. */
  batch: string;
}

export interface BatchRowList {
  items: BatchRow[];
  next_cursor: string | null;
}

export interface Delivery {
  /** Its webhook-id. */
  id: string;
  type: "request.accepted" | "request.waiting" | "request.reminded" | "request.done" | "request.refused" | "request.cancelled" | "request.expired" | "request.failed";
  /** When what it tells came about. */
  timestamp: string;
  /** failed: given up. stopped: the receiver answered 410, and is told nothing more. */
  state: "waiting" | "delivered" | "failed" | "stopped";
  attempts: number;
  /** When it was last tried. */
  last_at?: string | undefined;
  /** The HTTP status of the last answer. */
  status?: number | undefined;
  /** Why the last attempt failed. */
  code?: string | undefined;
  /** When it is tried next. */
  next_at?: string | undefined;
}

export interface Notification {
  /** request. and the state, or what was asked for. */
  type: "request.accepted" | "request.waiting" | "request.reminded" | "request.done" | "request.refused" | "request.cancelled" | "request.expired" | "request.failed";
  /** When it came about. Of two about one request, the later one holds. */
  timestamp: string;
  data: {
    /** The request's id. */
    id: string;
    /** Your own id for it. */
    reference?: string | undefined;
    /** On whose account, where it is not the default one. */
    tenant?: string | undefined;
    /** Where it stands among those that were handed in together. */
    group?: {
      id: string;
      n: number;
      of: number;
    } | undefined;
    /** The step that it is at. */
    stage: string;
    /** The same as in the API. */
    state: State;
    waiting?: {
      /** What it waits for. */
      for: string;
      /** Whose turn it is. */
      whose: string;
      /** When it ends as expired. */
      until: string;
    } | undefined;
    /** Why it did not end as done. */
    failure?: {
      code: string;
    } | undefined;
    /** What is to be known beside the state. */
    notice?: {
      code: string;
    } | undefined;
    /** How often the signer was to be reminded. */
    reminders?: {
      count: number;
      last_at: string;
    } | undefined;
    created_at: string;
    /** Addresses in the API, without its origin. */
    links: {
      self: string;
    };
  };
}
