import type { Context } from "./context.ts";
import type { Request } from "./store.ts";

/** Who approves where nobody has said who: the provider's own. */
const NOBODYS_RAO = 1400;
/** Users have a sequence of their own. */
const USERS_ABOVE = 500_000;

/** The officer's certificate lives as long as the run. */
const certificates = new WeakMap<Context, Map<number, Record<string, unknown>>>();

/** A moment as certificates of notifications have it. @source docs/provider.md §Webhooks */
const stamp = (at: Date): string => at.toISOString().slice(0, 19).replace(/-/g, "").replace("T", " ");

function certificateOf(context: Context, rao: number): Record<string, unknown> {
  const known = certificates.get(context) ?? new Map<number, Record<string, unknown>>();
  certificates.set(context, known);
  const there = known.get(rao);
  if (there) return there;
  const subject = { commonName: `Simulated Officer ${rao}`, givenName: "Simulated", surname: "Officer" };
  const made = context.authority.issue(subject, new Date(context.clock.now()));
  const shown = {
    profile: "PFnubeQAFCiudadano",
    status: "VALID",
    valid: true,
    valid_from: stamp(made.validFrom),
    valid_to: stamp(made.validTo),
    serial_number: made.serialHex,
    issuer: "CN=signpipe simulator CA (no legal value)",
    subject: made.subjectText,
    data: made.certificate.toString("base64"),
  };
  known.set(rao, shown);
  return shown;
}

/**
 * Who registered and who approved a request, as its record has them: the approving ones are there from the approval on.
 * @source docs/provider.md §Read a request: first-generation reference
 */
export function officersOf(context: Context, request: Request): Record<string, unknown> {
  const { pk, registrationAuthority, approvedAt, approvedBy } = request;
  const authority = Number(registrationAuthority);
  const user = (number: number, profile: string) => ({
    pk: USERS_ABOVE + number,
    request: pk,
    permission_profile: profile,
    registration_authority: Number.isNaN(authority) ? registrationAuthority : authority,
  });
  const named = Number(approvedBy ?? context.credentials.rao?.rao);
  const rao = Number.isInteger(named) ? named : NOBODYS_RAO;
  return {
    registering_user: user(1, "registering"),
    ...(approvedAt !== undefined && {
      approving_user: user(rao, "approving"),
      approving_rao: {
        pk: rao,
        given_name: "Simulated",
        surname_1: "Officer",
        certificate: certificateOf(context, rao),
      },
    }),
  };
}
