import { z } from "zod";
import { OPERATIONS } from "./operations.ts";

/**
 * What goes wrong with a call. "before" means that nothing was done, "after" that the work was done and only the answer
 * is lost or spoilt.
 */
export const FAULT_KINDS = {
  latency: "The answer comes `ms` later",
  "status-before": "`status` (503) in the place of the work",
  "status-after": "`status` (503) in the place of the answer",
  "reset-before": "The connection is reset in the place of the work",
  "reset-after": "The connection is reset in the place of the answer",
  hang: "Nothing is done, and nothing answered",
  "hang-after": "The work is done, and nothing answered",
  "rate-limit": "429 with Retry-After in the place of the work",
  truncate: "Half the answer, against its declared length",
  "truncate-close": "Half the answer, and no declared length",
  corrupt: "One bit of the answer is wrong",
  "malformed-json": "JSON that ends early",
  html: "A proxy's HTML page with `status` (502) in the place of the work",
  validation: "A rejected field, as HTTP 500 with an object, in the place of the work",
} as const;

type FaultKind = keyof typeof FAULT_KINDS;

export const FaultSchema = z.strictObject({
  /** Name of the operation, for instance "sign"; any when not given. */
  operation: z
    .string()
    .refine((name) => name in OPERATIONS, { error: "No such operation; GET /control/operations lists them" })
    .optional(),
  method: z.string().toUpperCase().optional(),
  /** Path behind the base path; `*` or `{name}` stands for one segment, for instance "/sign/{request_pk}". */
  path: z.string().startsWith("/").optional(),
  kind: z.enum(Object.keys(FAULT_KINDS) as [FaultKind, ...FaultKind[]]),
  /** How many calls it takes. */
  times: z.int().min(1).default(1),
  /** How many matching calls pass before it begins. */
  skip: z.int().min(0).default(0),
  /** Delay of kind "latency"; with other kinds, a delay before the fault. */
  ms: z.int().min(0).default(0),
  /** HTTP status of the kinds that answer with one. */
  status: z.int().min(200).max(599).optional(),
  body: z.union([z.string(), z.record(z.string(), z.unknown())]).optional(),
  /** Seconds in Retry-After of kind "rate-limit". */
  retryAfterS: z.int().min(0).default(1),
});

export type FaultInput = z.input<typeof FaultSchema>;
export type Fault = z.output<typeof FaultSchema>;

export type Call = { operation: string; method: string; path: string };

export type Faults = {
  add: (fault: FaultInput) => void;
  /** The fault for a call that has just arrived, used up by it. Faults are taken in the order they were added. */
  take: (call: Call) => Fault | undefined;
  pending: () => readonly Fault[];
  clear: () => void;
};

function matches(fault: Fault, call: Call): boolean {
  if (fault.operation !== undefined && fault.operation !== call.operation) return false;
  if (fault.method !== undefined && fault.method !== call.method) return false;
  if (fault.path === undefined) return true;
  const wanted = fault.path.replace(/\/$/, "").split("/");
  const actual = call.path.replace(/\/$/, "").split("/");
  return (
    wanted.length === actual.length &&
    wanted.every((part, i) => part === "*" || /^\{.*\}$/.test(part) || part === actual[i])
  );
}

export function createFaults(): Faults {
  let list: Fault[] = [];
  return {
    add: (fault) => void list.push(FaultSchema.parse(fault)),
    take(call) {
      for (const fault of list) {
        if (!matches(fault, call)) continue;
        if (fault.skip > 0) {
          fault.skip--;
          continue;
        }
        if (--fault.times === 0) list = list.filter((other) => other !== fault);
        return fault;
      }
      return undefined;
    },
    pending: () => list,
    clear: () => void (list = []),
  };
}
