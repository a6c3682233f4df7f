import { approve } from "./approve.ts";
import { cleanup } from "./cleanup.ts";
import { contract } from "./contract.ts";
import { create } from "./create.ts";
import { evidences } from "./evidences.ts";
import { fetchSigned } from "./fetch.ts";
import { identify } from "./identify.ts";
import { otp } from "./otp.ts";
import { sign } from "./sign.ts";
import { upload } from "./upload.ts";
import type { Workflow } from "../core/workflow.ts";

/** All stages. Queues, the board and the command line are read from this list. */
export const stages = [
  create,
  evidences,
  identify,
  approve,
  upload,
  contract,
  otp,
  sign,
  fetchSigned,
  cleanup,
] as const;

export type StageName = (typeof stages)[number]["name"];
export const STAGE_NAMES: readonly StageName[] = stages.map(({ name }) => name);

/** From the approval on all workflows are one. */
const SIGNING = ["upload", "contract", "otp", "sign", "fetch", "cleanup"] as const;

/** THE WORKFLOWS: which stages, and in which order. @source docs/provider.md §Workflows */
const ORDERS = {
  videoid: ["create", "identify", "approve", ...SIGNING],
  "videoid-external": ["create", "evidences", "identify", "approve", ...SIGNING],
  // The provider approves within the creation, so whoever decides here does it before.
  classic: ["approve", "create", ...SIGNING],
} as const satisfies Record<Workflow, readonly StageName[]>;

/** The stages that a request of this workflow goes through, in order. */
export function orderOf(workflow: Workflow): readonly StageName[] {
  return ORDERS[workflow];
}

/** The facts that a producer gives. */
export const INTAKE_FACTS = [
  "documents",
  "authentication",
  "tenant",
  "rao",
  "profile",
  "registrationAuthority",
  "appearance",
  "picture",
  "format",
  "useasync",
  "enclosures",
  "approval",
  "callbackUrl",
  "intake",
  "retryOf",
  "bundle",
] as const;
