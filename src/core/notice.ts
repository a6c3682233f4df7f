import { z } from "zod";
import type { SignRequest } from "./request.ts";
import { type Ending, ENDINGS, isEnd } from "./status.ts";

/** What everybody who looks at a request must be told beside its state. `message` is without personal data. */
export interface Notice {
  code: string;
  message: string;
}

/** That it was signed although it was to end otherwise, by how it was to end. */
export const DESPITE_CODES = {
  refused: "refused-but-signed",
  cancelled: "cancelled-but-signed",
  expired: "expired-but-signed",
  failed: "failed-but-signed",
} as const satisfies Record<Ending, string>;

const WORDS = {
  refused: "It was refused",
  cancelled: "It was cancelled",
  expired: "Its time had run out",
  failed: "It had failed",
} as const satisfies Record<Ending, string>;

/** How a request was to end, and why, when it turned out to be signed. */
export const SignedDespite = z.object({
  ending: z.enum(ENDINGS),
  code: z.string(),
  message: z.string(),
});
export type SignedDespite = z.infer<typeof SignedDespite>;

const Facts = z.object({
  signedDespite: SignedDespite.optional().catch(undefined),
  cleanupFailed: z.object({ code: z.string(), message: z.string() }).optional().catch(undefined),
});

/** The notice of a request; undefined when its state says all. Pure. */
export function noticeOf({ phase, facts }: Pick<SignRequest, "phase" | "facts">): Notice | undefined {
  const { signedDespite, cleanupFailed } = Facts.parse(facts);
  if (cleanupFailed) {
    const { code, message } = cleanupFailed;
    const why = withoutEnd(message);
    return {
      code: "cleanup-given-up",
      message: `Its documents may still be at the provider: cleaning up after it was given up. ${why} (${code}). Mend that, then retry: it is cleaned up again, and ends as before.`,
    };
  }
  if (!signedDespite) return undefined;
  const { ending, message } = signedDespite;
  const where =
    phase === "done"
      ? "and the signed documents are here"
      : isEnd(phase)
        ? "and its documents are still at the provider"
        : "and its documents are being fetched";
  return {
    code: DESPITE_CODES[ending],
    message: `${WORDS[ending]} (${withoutEnd(message)}), but turned out to be signed: the signature was made, ${where}.`,
  };
}

function withoutEnd(sentence: string): string {
  return sentence.replace(/[.\s]*$/, "");
}
