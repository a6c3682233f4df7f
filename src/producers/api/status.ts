import { z } from "zod";

/** How a part of the service is. */
export const Check = z.object({
  ok: z.boolean(),
  /** One plain sentence, without addresses, names or secrets: everybody who reaches the port can read it. */
  note: z.string().optional(),
  /** Numbers about it, for /metrics. */
  figures: z.record(z.string(), z.number()).optional(),
});
export type Check = z.infer<typeof Check>;

/** The parts that readiness is about; those that this process does not know are left out. */
export interface Status {
  redis: Check;
  disk?: Check | undefined;
  /** Told, but not decisive: requests are accepted and kept while the provider is away. */
  provider?: Check | undefined;
  inbox?: Check | undefined;
  /** Told, but not decisive: a share that is away keeps nobody else from working. By name. */
  inboxes?: Readonly<Record<string, Check>> | undefined;
  workers?: Check | undefined;
}

export const Health = z
  .object({
    status: z.enum(["ready", "not-ready"]),
    reasons: z.array(z.string()).describe("Why it is not ready; empty when it is."),
    checks: z.record(z.string(), Check.omit({ figures: true })),
  })
  .meta({ id: "Health" });
export type Health = z.infer<typeof Health>;

/** Whether requests can be taken and worked on, and if not, why. */
export function toHealth(status: Status): Health {
  const checks: Health["checks"] = {};
  const reasons: string[] = [];
  for (const part of ["redis", "disk", "inbox", "workers", "provider"] as const) {
    const check = status[part];
    if (!check) continue;
    const { ok, note } = check;
    checks[part] = { ok, ...(note !== undefined && { note }) };
    if (!ok && part !== "provider") reasons.push(note === undefined ? `${part} is not well` : `${part}: ${note}`);
  }
  for (const [name, { ok, note }] of Object.entries(status.inboxes ?? {})) {
    checks[`inbox:${name}`] = { ok, ...(note !== undefined && { note }) };
  }
  return { status: reasons.length === 0 ? "ready" : "not-ready", reasons, checks };
}
