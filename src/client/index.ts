/** The client library, as `signpipe/client`. See docs/client.md. */
export { type Client, createClient } from "./client.ts";
export type {
  BatchFiles,
  BatchLine,
  BatchOptions,
  Batches,
  BatchSubmitted,
  BatchTable,
  BatchWaitOptions,
} from "./batches.ts";
export type {
  ActOptions,
  CallOptions,
  ClientOptions,
  EnclosureName,
  EventFilters,
  Filters,
  SubmitOptions,
  Submitted,
  Until,
  WaitOptions,
} from "./client.ts";
export type { Content, DocumentSent } from "./documents.ts";
export type { Download, DownloadOptions, Passed } from "./download.ts";
export { type ClientCode, type ErrorCode, SignpipeError } from "./error.ts";
export type {
  AnyChangeEvent,
  AnyRequestEvent,
  ChangeEvent,
  EndEvent,
  FollowOptions,
  GapEvent,
  RequestEvent,
} from "./events.ts";
export { type Received, type Verified, verifyNotification } from "./notification.ts";
export type {
  Accepted,
  Batch,
  BatchColumns,
  BatchList,
  BatchReport,
  BatchRow,
  BatchRowList,
  BatchState,
  Correction,
  Delivery,
  DocumentByAddress,
  FieldError,
  History,
  Manifest,
  Notification,
  ProblemCode,
  Request,
  RequestList,
  RowState,
  State,
  WaitingFor,
} from "./schema.ts";
