/** The client library, as `signpipe/client`. See docs/client.md. */
export { type Client, createClient } from "./client.ts";
export type {
  CallOptions,
  ClientOptions,
  EventFilters,
  Filters,
  SubmitOptions,
  Submitted,
  Until,
  WaitOptions,
} from "./client.ts";
export type { Content, DocumentSent } from "./documents.ts";
export type { Download, DownloadOptions } from "./download.ts";
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
export { type Notification, type Received, type Verified, verifyNotification } from "./notification.ts";
export type {
  Accepted,
  Correction,
  DocumentByAddress,
  FieldError,
  History,
  Manifest,
  ProblemCode,
  Request,
  RequestList,
  State,
  WaitingFor,
} from "./schema.ts";
