import { approve } from "./approve.ts";
import { cleanup } from "./cleanup.ts";
import { contract } from "./contract.ts";
import { create } from "./create.ts";
import { fetchSigned } from "./fetch.ts";
import { identify } from "./identify.ts";
import { otp } from "./otp.ts";
import { sign } from "./sign.ts";
import { upload } from "./upload.ts";

/** THE PIPELINE, in order. Queues, statuses, the board and the command line are all read from this list. */
export const stages = [create, identify, approve, upload, contract, otp, sign, fetchSigned, cleanup] as const;

export type StageName = (typeof stages)[number]["name"];
export const STAGE_NAMES: readonly StageName[] = stages.map(({ name }) => name);

/** The facts that a producer gives. */
export const INTAKE_FACTS = [
  "documents",
  "authentication",
  "profile",
  "registrationAuthority",
  "appearance",
  "approval",
  "callbackUrl",
  "retryOf",
] as const;
