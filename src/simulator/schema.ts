import type { FastifyRequest } from "fastify";
import { violation } from "./bodies.ts";
import type { Body } from "./bodies.ts";
import { SchemaViolation } from "./envelopes.ts";
import type { OperationName } from "./operations.ts";
import type { Settings } from "./options.ts";

/**
 * What a call of the newest generation cannot be without, whatever the Optimizer's settings say.
 * @source docs/provider.md §Create VideoID, §Create, §Approve, §Refuse, §Tokens, §Images
 */
const REQUIRED: Partial<Record<OperationName, readonly string[]>> = {
  createVideoId: ["mobile_phone_number", "email"],
  approveVideoId: ["rao"],
  refuseVideoId: ["rao", "reason"],
  createRequest: ["given_name", "surname_1", "email", "mobile_phone_number"],
  createToken: ["username"],
  uploadImage: ["image"],
};
/** With dashes, or as the first generation had them. @source docs/provider.md §Tokens */
const UID = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;

type Check = Pick<Settings, "schemaCheck">;

/** The framework's findings in the fields of a call, where it is the one that looks. Throws SchemaViolation. */
export function checkFields({ schemaCheck }: Check, operation: OperationName, fields: Body): void {
  if (schemaCheck !== "framework") return;
  const missing = (REQUIRED[operation] ?? []).filter((name) => fields[name] === undefined);
  if (missing.length === 0) return;
  throw new SchemaViolation(
    ...missing.map((name) => ({ type: "missing", loc: ["body", name], msg: "Field required" })),
  );
}

/** The same for a call before its handler has it: its path, and its body where that is JSON. Throws SchemaViolation. */
export function checkCall(settings: Check, operation: OperationName, { params, body }: FastifyRequest): void {
  if (settings.schemaCheck !== "framework") return;
  for (const [name, text] of Object.entries(params as Record<string, string>))
    if (name.endsWith("_uid") && !UID.test(text))
      throw violation("uuid_parsing", name, "Input should be a valid UUID", "path");
  if (typeof body === "object" && body !== null) checkFields(settings, operation, body as Body);
}
