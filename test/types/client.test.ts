/** Checked by the compiler alone: the client's types are those of the API, in both directions. */
import type { z } from "zod";
import type { Correction as CorrectionSchema } from "../../src/core/correction.ts";
import type { Notification as NotificationSchema } from "../../src/core/notification.ts";
import type {
  BatchList as BatchListSchema,
  BatchView,
  ReportView,
  RowList,
} from "../../src/producers/api/batch-view.ts";
import type { NotificationView } from "../../src/producers/api/notifications.ts";
import type { ProblemCode as Code } from "../../src/producers/api/problem.ts";
import type { Reference } from "../../src/producers/api/references.ts";
import type {
  Accepted as AcceptedSchema,
  HistoryView,
  RequestList as ListSchema,
  RequestView,
} from "../../src/producers/api/view.ts";
import type { Manifest as ManifestSchema } from "../../src/producers/manifest.ts";
import type { BatchLine } from "../../src/client/batches.ts";
import type {
  Accepted,
  Batch,
  BatchList,
  BatchReport,
  BatchRowList,
  Correction,
  Delivery,
  DocumentByAddress,
  History,
  Manifest,
  Notification,
  ProblemCode,
  Request,
  RequestList,
  WaitingFor,
} from "../../src/client/schema.ts";

/** Only when each can stand for the other. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;

export const same: Record<string, true> = {
  manifest: true satisfies Same<Manifest, z.input<typeof ManifestSchema>>,
  byAddress: true satisfies Same<DocumentByAddress, z.input<typeof Reference>>,
  correction: true satisfies Same<Correction, z.input<typeof CorrectionSchema>>,
  request: true satisfies Same<Request, z.output<typeof RequestView>>,
  list: true satisfies Same<RequestList, z.output<typeof ListSchema>>,
  history: true satisfies Same<History, z.output<typeof HistoryView>>,
  accepted: true satisfies Same<Accepted, z.output<typeof AcceptedSchema>>,
  batch: true satisfies Same<Batch, z.output<typeof BatchView>>,
  batches: true satisfies Same<BatchList, z.output<typeof BatchListSchema>>,
  report: true satisfies Same<BatchReport, z.output<typeof ReportView>>,
  rows: true satisfies Same<BatchRowList, z.output<typeof RowList>>,
  delivery: true satisfies Same<Delivery, z.output<typeof NotificationView>>,
  notification: true satisfies Same<Notification, z.output<typeof NotificationSchema>>,
  code: true satisfies Same<ProblemCode, Code>,
};

// @ts-expect-error -- a manifest says who signs
export const nobody: Manifest = { reference: "loan-2031" };

// @ts-expect-error -- what is waited for is a word of the API's
export const misspelt: WaitingFor = "aproval";

export const line: BatchLine = { files: ["lease.pdf"], email: "ana@example.com", identity: { video: "ana.mp4" } };
// @ts-expect-error -- a row names what is signed
export const nothing: BatchLine = { email: "ana@example.com" };
// @ts-expect-error -- a column has one form
export const misspelled: BatchLine = { files: "lease.pdf", authentication: "fax" };
