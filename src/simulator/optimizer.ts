import { z } from "zod";

/** What the Optimizer's settings file holds: defaults for what a call does not say. @source docs/provider.md §Account */
export type OptimizerSettings = {
  general: { environment?: string; usepdfclean?: boolean; configuration: string; rootstore: string };
  tsa: { tsa_url: string };
  billing: { billing_username?: string; billing_password?: string };
  request: { default_profile?: string; default_ra?: string };
  proxy: Record<string, string | boolean>;
};

export const freshOptimizer = (): OptimizerSettings => ({
  general: { configuration: "default", rootstore: "uanataca" },
  tsa: { tsa_url: "https://tsa.sandbox.uanataca.com/tsa/tss01" },
  billing: {},
  request: {},
  proxy: { useproxy: false, useproxycredentials: false },
});

/** A flag as files have it: a boolean, or a word. */
const flag = z.union([z.boolean(), z.enum(["true", "false", "True", "False"]).transform((word) => /^t/i.test(word))]);
const numberOrText = z.union([z.string(), z.number().transform(String)]);

/** Any part of it, as `POST /settings` takes it. */
export const OPTIMIZER_CHANGE = z.object({
  general: z
    .object({ environment: z.string(), usepdfclean: flag, configuration: z.string(), rootstore: z.string() })
    .partial()
    .optional(),
  tsa: z.object({ tsa_url: z.string() }).partial().optional(),
  billing: z.object({ billing_username: z.string(), billing_password: z.string() }).partial().optional(),
  request: z.object({ default_profile: z.string(), default_ra: numberOrText }).partial().optional(),
  proxy: z.record(z.string(), z.union([z.string(), z.boolean()])).optional(),
});

/** Puts a change over what is there. */
export function changeOptimizer(optimizer: OptimizerSettings, change: z.output<typeof OPTIMIZER_CHANGE>): void {
  for (const [section, values] of Object.entries(change)) {
    Object.assign(optimizer[section as keyof OptimizerSettings], values);
  }
}
