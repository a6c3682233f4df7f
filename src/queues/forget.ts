/** What each stage finds out, and what people say while it waits: facts that are of no use once it is done again. */
const FACTS: Record<string, readonly string[]> = {
  create: ["requestPk", "videoidPk", "videoidLink", "providerGone", "begun", "resent", "acceptedMs"],
  evidences: ["evidencesMs", "missing"],
  identify: ["identifiedMs", "providerStatus", "order", "reminded"],
  approve: ["decision", "approvedMs", "approvedBy", "unvalidated"],
  upload: ["uploaded", "contract", "otp", "wrongCodes", "signedMs", "signAccepted", "signedDespite"],
  fetch: ["signed"],
  cleanup: ["removedMs", "cleanup"],
};

/** Facts that a restart at `stage` must not find, each to be removed. `order` is that of an identification on video. */
export function forgetFrom(stage: string, order: readonly string[] = Object.keys(FACTS)): Record<string, null> {
  const from = Math.max(order.indexOf(stage), 0);
  return Object.fromEntries(order.slice(from).flatMap((name) => (FACTS[name] ?? []).map((fact) => [fact, null])));
}
