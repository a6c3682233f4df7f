import { PermanentError, RetryableError } from "../core/errors.ts";

/** A file that does not verify is fetched anew this often: it may have been cut or spoilt on the way. */
const TRIES = 5;
const OF_THE_FILE = /^(signature|pdf|not-a-pdf|file-empty)/;

/**
 * Rethrows what is the matter with a file of the provider's: as what is tried again, as long as it may have been spoilt on
 * the way, and as the end of the request after that. Anything else as it is. `message` is said in the place of its own.
 */
export function rethrowSpoilt(error: unknown, attempt: number, message?: string): never {
  if (!(error instanceof PermanentError) || !OF_THE_FILE.test(error.code)) throw error;
  const said = message ?? error.message;
  if (attempt + 1 < TRIES) throw new RetryableError(said, { code: error.code, cause: error });
  throw message === undefined ? error : new PermanentError(said, { code: error.code, cause: error });
}
