import { defined, readObject } from "./submit.ts";
import { CliError } from "./terminal.ts";

const NAMES = {
  email: "email",
  phone: "mobile_phone_number",
  givenName: "given_name",
  surname1: "surname_1",
  surname2: "surname_2",
  serialNumber: "serial_number",
  birthDate: "birth_date",
  countryName: "country_name",
} as const;

/** What is to be corrected, from a file or from options; options win. Throws CliError when nothing is. */
export function toCorrection(options: Record<string, unknown>): Record<string, unknown> {
  const data = options["data"];
  const base = typeof data === "string" ? readObject(data, "--data") : {};
  const given = Object.entries(NAMES).map(([option, field]) => [field, options[option]]);
  const correction = { ...base, ...defined(Object.fromEntries(given) as Record<string, unknown>) };
  if (Object.keys(correction).length > 0) return correction;
  throw new CliError("What is to be corrected? Give --phone, --email or another option, or --data with a file.");
}
