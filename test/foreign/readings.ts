/**
 * The ways in which the provider's published contract can be read. Each switch is a place where its sources leave
 * room, or say two things. The defaults are what the newest workflow page says.
 */
export type Status =
  | "VIDEOPENDING"
  | "VIDEOINCOMPLETE"
  | "VIDEOREVIEW"
  | "VIDEOERROR"
  | "CREATED"
  | "ENROLLREADY"
  | "ISSUED"
  | "CANCELLED";

export interface Readings {
  // Where it is
  basePath: string;
  approvePath: "videoid" | "request";
  /** Which form of the call has signed documents, and what the other one answers. */
  retrieval: "seed" | "reference" | "both";
  otherRetrieval: 404 | 405;
  trailingSlash: "both" | "none";

  // What success looks like
  data: "detail" | "details";
  text: "message" | "messsage" | "none";
  ok: string;
  createdCode: 200 | 201;
  /** Where the answer to a creation and to a look at a request has its values. */
  created: "inside" | "flat";
  request: "inside" | "bare";
  numbers: "number" | "string";
  uploaded: "object" | "array" | "string" | "old-array";
  uid: "uid" | "document_uid";
  uppercaseUid: boolean;
  deleted: "envelope" | "empty" | "204";
  extraFields: boolean;
  pdfType: string;
  jsonType: string;

  // What an error looks like
  error: "message" | "detail" | "old" | "upstream";
  validation: "422" | "400-object" | "500-object";
  notFound: 404 | "400-disguised";
  unrouted: "json" | "html";

  // What is allowed when
  strictFields: boolean;
  uploadNeeds: "any" | "ENROLLREADY";
  contractEarly: 404 | 412 | "400-disguised";
  documentsPerRequest: number;
  envRequired: boolean;
  otpGuardMs: number;
  deleteRemoves: "both" | "original-first";
  /** There is a call that deletes all documents of a request. */
  deletesAll: boolean;

  // What happens beside the calls
  identification: Status[];
  /** An operator at the provider approves, without a call. */
  operatorApproves: boolean;
  contractAfterMs: number;
  signedAfterMs: number;
  /** How far behind a look at a request may be. */
  lagMs: number;

  // How bytes travel
  chunked: boolean;
  closes: boolean;
  delayMs: number;
  signMs: number;
  trickle: boolean;
  /** Every n-th look is answered 429 or 503; 0 is never. */
  busyEvery: number;

  // Notifications
  webhooks: "none" | "new" | "old" | "both";
  webhookCopies: number;
  webhookDelayMs: number;
  webhooksReversed: boolean;
  webhookType: string | undefined;
}

export const SEED: Readings = {
  basePath: "/oneshot/api/v1",
  approvePath: "videoid",
  retrieval: "seed",
  otherRetrieval: 404,
  trailingSlash: "none",
  data: "detail",
  text: "messsage",
  ok: "success",
  createdCode: 200,
  created: "inside",
  request: "inside",
  numbers: "number",
  uploaded: "object",
  uid: "uid",
  uppercaseUid: false,
  deleted: "envelope",
  extraFields: false,
  pdfType: "application/octet-stream",
  jsonType: "application/json",
  error: "message",
  validation: "422",
  notFound: 404,
  unrouted: "json",
  strictFields: true,
  uploadNeeds: "ENROLLREADY",
  contractEarly: 404,
  documentsPerRequest: 10,
  envRequired: false,
  otpGuardMs: 60_000,
  deleteRemoves: "both",
  deletesAll: true,
  identification: ["VIDEOREVIEW"],
  operatorApproves: false,
  contractAfterMs: 0,
  signedAfterMs: 0,
  lagMs: 0,
  chunked: false,
  closes: false,
  delayMs: 0,
  signMs: 0,
  trickle: false,
  busyEvery: 0,
  webhooks: "none",
  webhookCopies: 1,
  webhookDelayMs: 0,
  webhooksReversed: false,
  webhookType: "application/json",
};

/** Eight providers, as different as the contract allows. */
export const PROVIDERS: Record<string, Partial<Readings>> = {
  "the newest pages to the letter": {},
  "the reference pages": {
    retrieval: "reference",
    otherRetrieval: 404,
    unrouted: "json",
    data: "details",
    text: "message",
    error: "detail",
    envRequired: true,
    webhooks: "new",
    webhookType: undefined,
    uploaded: "array",
    trailingSlash: "both",
  },
  "the first generation's bodies": {
    ok: "200 OK",
    createdCode: 201,
    data: "details",
    text: "none",
    error: "old",
    notFound: "400-disguised",
    contractEarly: "400-disguised",
    validation: "500-object",
    uploaded: "string",
    pdfType: "text/plain",
    deletesAll: false,
    webhooks: "old",
    otherRetrieval: 405,
    jsonType: "application/json; charset=utf-8",
  },
  "the first generation behind nginx": {
    basePath: "/sign/gateway/oneshot/api/v1",
    ok: "200 OK",
    data: "details",
    uploaded: "old-array",
    error: "old",
    validation: "400-object",
    unrouted: "html",
    retrieval: "reference",
    chunked: true,
    closes: true,
    webhooks: "both",
    webhookCopies: 3,
    extraFields: true,
    contractAfterMs: 700,
    identification: ["VIDEOINCOMPLETE", "VIDEOREVIEW"],
  },
  "numbers as texts, values at the top": {
    basePath: "",
    numbers: "string",
    created: "flat",
    request: "bare",
    uid: "document_uid",
    uppercaseUid: true,
    deleted: "empty",
    error: "upstream",
    retrieval: "both",
    extraFields: true,
    pdfType: "application/pdf",
    jsonType: "text/plain; charset=utf-8",
  },
  "slow, behind, and busy": {
    delayMs: 60,
    signMs: 600,
    lagMs: 400,
    signedAfterMs: 600,
    contractAfterMs: 600,
    trickle: true,
    chunked: true,
    busyEvery: 30,
    webhooks: "new",
    webhookDelayMs: 400,
    webhookCopies: 2,
    webhooksReversed: true,
    contractEarly: 412,
    retrieval: "seed",
    otherRetrieval: 405,
    unrouted: "html",
  },
  "two steps, with an operator who approves": {
    identification: ["VIDEOINCOMPLETE", "VIDEOREVIEW", "CREATED"],
    operatorApproves: true,
    uploadNeeds: "any",
    deleted: "204",
    deleteRemoves: "original-first",
    data: "details",
    text: "message",
    webhooks: "both",
    documentsPerRequest: 10,
    validation: "500-object",
  },
  "two steps, and the approval is ours": {
    identification: ["VIDEOREVIEW", "CREATED"],
    error: "detail",
    notFound: "400-disguised",
    retrieval: "reference",
    otherRetrieval: 405,
    closes: true,
    extraFields: true,
    webhooks: "new",
    webhookDelayMs: 200,
  },
};
