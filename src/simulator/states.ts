/** The life of a request: its statuses, the moves that lead from one to another, and the calls that each allows. */

export const STATUSES = [
  "VIDEOPENDING",
  "VIDEOINCOMPLETE",
  "VIDEOREVIEW",
  "VIDEOERROR",
  "CREATED",
  "ENROLLREADY",
  "ISSUED",
  "CANCELLED",
] as const;
export type Status = (typeof STATUSES)[number];

export type EventType =
  | "REQUEST_CREATED"
  | "REQUEST_APPROVED"
  | "REQUEST_ENROLLED"
  | "REQUEST_CANCELED"
  | "VIDEOID_UPDATED"
  | "VIDEOID_FAILED"
  | "VIDEOID_VALIDATED"
  | "VIDEOID_REFUSED"
  | "CERTIFICATE_SUSPENDED"
  | "CERTIFICATE_ACTIVATED"
  | "CERTIFICATE_REVOKED";

type Move = { from: readonly Status[]; to: Status; event: EventType };

const BEFORE_ISSUED = [
  "VIDEOPENDING",
  "VIDEOINCOMPLETE",
  "VIDEOREVIEW",
  "VIDEOERROR",
  "CREATED",
  "ENROLLREADY",
] as const;

/** @source docs/provider.md §Statuses: transitions and webhook events */
export const MOVES = {
  complete: { from: ["VIDEOPENDING", "VIDEOINCOMPLETE"], to: "VIDEOREVIEW", event: "VIDEOID_UPDATED" },
  leave: { from: ["VIDEOPENDING"], to: "VIDEOINCOMPLETE", event: "VIDEOID_UPDATED" },
  fail: { from: ["VIDEOPENDING", "VIDEOINCOMPLETE"], to: "VIDEOERROR", event: "VIDEOID_FAILED" },
  validate: { from: ["VIDEOREVIEW"], to: "CREATED", event: "VIDEOID_VALIDATED" },
  approve: { from: ["VIDEOREVIEW", "CREATED"], to: "ENROLLREADY", event: "REQUEST_APPROVED" },
  refuse: { from: ["VIDEOREVIEW", "CREATED"], to: "CANCELLED", event: "VIDEOID_REFUSED" },
  cancel: { from: BEFORE_ISSUED, to: "CANCELLED", event: "REQUEST_CANCELED" },
  sign: { from: ["ENROLLREADY"], to: "ISSUED", event: "REQUEST_ENROLLED" },
} as const satisfies Record<string, Move>;

export type MoveName = keyof typeof MOVES;

export const mayMove = (status: Status, move: MoveName): boolean =>
  (MOVES[move].from as readonly Status[]).includes(status);

/** What becomes of a certificate after its issuing; the request stays ISSUED. @source docs/provider.md §Webhooks */
export const CERTIFICATE_EVENTS = {
  SUSPENDED: { from: ["VALID"], event: "CERTIFICATE_SUSPENDED" },
  VALID: { from: ["SUSPENDED"], event: "CERTIFICATE_ACTIVATED" },
  REVOKED: { from: ["VALID", "SUSPENDED"], event: "CERTIFICATE_REVOKED" },
} as const satisfies Record<string, { from: readonly string[]; event: EventType }>;

export type CertificateStatus = keyof typeof CERTIFICATE_EVENTS;

type Guard = { allows: readonly Status[]; http: number; text: (requestPk: number) => string };

const wrongState = (): string => "Invalid request status";

/**
 * What a call that moves nothing needs. The documents say nothing about uploads; here they are taken as long as they
 * can still be signed.
 * @source docs/provider.md §Guards
 */
export const GUARDS = {
  update: { allows: ["VIDEOPENDING", "VIDEOINCOMPLETE", "VIDEOREVIEW", "CREATED"], http: 412, text: wrongState },
  upload: { allows: BEFORE_ISSUED, http: 412, text: wrongState },
  evidence: { allows: ["VIDEOPENDING", "VIDEOINCOMPLETE"], http: 412, text: wrongState },
  contract: { allows: ["ENROLLREADY", "ISSUED"], http: 404, text: (pk) => `Request ${pk} not found` },
  otp: {
    allows: ["ENROLLREADY"],
    http: 412,
    text: () => "Error occured during OTP generation: Invalid request status",
  },
} as const satisfies Record<string, Guard>;
