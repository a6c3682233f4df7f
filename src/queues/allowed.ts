import { PermanentError } from "../core/errors.ts";
import { DEFAULT_TENANT } from "../core/tenant.ts";
import type { Allowable } from "./pipeline-types.ts";

export interface AllowedParts {
  /** Whether a request may ask to be approved without a RAO's decision. */
  allowAuto: boolean;
  /** Whether a request may name this address to be told at. */
  mayTell?: (url: string) => boolean;
  /** Throws PermanentError "unknown-tenant" or "unknown-rao" for one that there is not. */
  mustKnow?: (wishes: { tenant?: string | undefined; rao?: string | undefined }) => void;
}

/** What may be wished for here. */
export function createAllowed({ allowAuto, mayTell = () => true, mustKnow = () => {} }: AllowedParts) {
  return {
    /** Throws PermanentError "auto-approval-not-allowed" or "callback-not-allowed". */
    mustBeWished({ approval, callback_url }: Allowable): void {
      if (approval === "auto" && !allowAuto) {
        throw new PermanentError(
          'approval: "auto" is not allowed here; leave it out, or have the operator set APPROVAL=auto',
          { code: "auto-approval-not-allowed" },
        );
      }
      if (callback_url !== undefined && !mayTell(callback_url)) {
        throw new PermanentError(
          "callback_url must be a public https address; the operator can allow other hosts, and http there, with CALLBACK_HOSTS",
          { code: "callback-not-allowed" },
        );
      }
    },

    /** The tenant as records have it: none for the default one. Throws PermanentError "unknown-tenant" or "unknown-rao". */
    tenantOf({ tenant: named, rao }: Allowable): string | undefined {
      const tenant = named === DEFAULT_TENANT ? undefined : named;
      mustKnow({ tenant, rao });
      return tenant;
    },
  };
}
