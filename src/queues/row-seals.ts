import { randomBytes } from "node:crypto";
import { seal, unseal } from "./seal.ts";

export type RowSeals = ReturnType<typeof createRowSeals>;

/** Who signs what is in a batch, until its rows are requests: AES-256-GCM under a key of the batch's own, as in the vault. */
export function createRowSeals({ masterKey }: { masterKey: Uint8Array }) {
  return {
    /** A new key for a batch: wrapped, as it is kept, and what encrypts with it. */
    create(batch: string): { wrapped: string; seal: (row: number, text: string) => string } {
      const key = randomBytes(32);
      return {
        wrapped: seal(masterKey, key, `${batch}:key`),
        seal: (row, text) => seal(key, text, `${batch}:${row}`),
      };
    },
    /** What decrypts the rows of a batch. Both throw PermanentError "vault-unreadable". */
    open(batch: string, wrapped: string): (row: number, sealed: string) => string {
      const key = unseal(masterKey, wrapped, `${batch}:key`);
      return (row, sealed) => unseal(key, sealed, `${batch}:${row}`).toString("utf8");
    },
  };
}
