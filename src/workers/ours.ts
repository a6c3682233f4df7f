import { RetryableError } from "../core/errors.ts";

/**
 * Between the steps of a call that has several: whoever stood still after the first one must not make the next, which
 * would undo what another worker has done since. Throws RetryableError "lost-lease".
 */
export function mustBeOurs(isOurs: () => boolean): void {
  if (isOurs()) return;
  throw new RetryableError("The call was broken off: another worker may have the request", {
    code: "lost-lease",
    effect: "unknown",
  });
}

/** Breaks off before the last byte when another worker may have the request, and may send the same. */
export async function* whileOurs(
  bytes: AsyncIterable<Buffer>,
  isOurs: () => boolean,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of bytes) {
    mustBeOurs(isOurs);
    yield chunk;
  }
  mustBeOurs(isOurs);
}
