import type { JournalLine } from "./journal.ts";
import { isEnd } from "./status.ts";

/** What a request's lines in the journal say that cannot be. */
export interface Doubt {
  code: "effect-without-intent" | "decision-missing";
  message: string;
}

type Facts = Record<string, unknown>;

/** Facts that only a costly call gives, by the name of its intent. */
const RESULTS: { effect: string; isGiven: (facts: Facts, line: JournalLine) => boolean }[] = [
  { effect: "create", isGiven: ({ requestPk }) => isSet(requestPk) },
  // Approved by somebody at the provider: no call of ours.
  { effect: "approve", isGiven: ({ approvedMs, approvedBy }) => isSet(approvedMs) && approvedBy !== "provider" },
  { effect: "upload", isGiven: ({ uploaded }) => isSet(uploaded) },
  { effect: "otp", isGiven: ({ otp }) => isSet(otp) },
  // At the end of a request it may only be noticed that it was signed; it goes back then, or ends.
  {
    effect: "sign",
    isGiven: ({ signedMs }, { phase, event }) => isSet(signedMs) && !isEnd(phase) && event !== "requeue",
  },
  // A request that is nowhere at the provider needs no deletion, and gives no time of one.
  { effect: "delete", isGiven: ({ removedMs }) => isSet(removedMs) },
];

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/**
 * Whether each costly call of a request was announced before: its intent stands in the journal ahead of its result.
 * And whether an approval by a person has that person's decision before it. `lines` in order.
 */
export function auditLines(lines: readonly JournalLine[]): Doubt[] {
  const doubts: Doubt[] = [];
  const begun = new Map<string, number>();
  const deciders = new Set<unknown>(["policy:auto", "provider"]);
  for (const line of lines) {
    if (line.event === "intend" && line.note) begun.set(line.note, (begun.get(line.note) ?? 0) + 1);
    const facts = (line.patch as { facts?: Facts } | undefined)?.facts ?? {};
    const decision = facts["decision"] as { by?: unknown } | null | undefined;
    if (decision) deciders.add(decision.by);
    for (const { effect, isGiven } of RESULTS) {
      if (!isGiven(facts, line)) continue;
      const left = begun.get(effect) ?? 0;
      if (left === 0) {
        const message = `The journal has the result of "${effect}" and not that it was about to be made`;
        doubts.push({ code: "effect-without-intent", message });
      }
      begun.set(effect, 0);
    }
    if (isSet(facts["approvedMs"]) && !deciders.has(facts["approvedBy"])) {
      const message = "The journal has an approval and not the decision of the person who gave it";
      doubts.push({ code: "decision-missing", message });
    }
  }
  return doubts;
}
