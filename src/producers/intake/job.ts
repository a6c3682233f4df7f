import { z } from "zod";
import { Sha256 } from "../../core/request.ts";

/** Room for a manifest of the largest size, sealed, and the documents beside it. */
const SEALED_MOST = 256 * 1024;

const Place = z
  .strictObject({
    path: z.string().min(1).max(1000).optional().describe("Where it is in INTAKE_DIR, with / between folders."),
    url: z
      .url({ protocol: /^https?$/ })
      .max(2000)
      .optional()
      .describe("Where it is to be had, at an allowed host."),
    name: z.string().min(1).max(255).optional().describe("What it is called; default: the end of its path or url."),
    sha256: Sha256.optional().describe("What it must be, in hexadecimal; another file is refused."),
  })
  .refine(({ path, url }) => (path === undefined) !== (url === undefined), "must have a path, or a url")
  .describe("A file, by where it is.");
export type Place = z.infer<typeof Place>;

const files = {
  documents: z.array(Place).min(1).max(1000).describe("What is to be signed."),
  enclosures: z.array(Place).max(20).describe("The files that the manifest names under identity."),
};
const manifest = z.record(z.string(), z.unknown()).describe("Who signs, and how: request.schema.json.");

/** What is sealed: the manifest at least. */
export const Sealed = z.strictObject({
  manifest,
  documents: files.documents.optional(),
  enclosures: files.enclosures.optional(),
});

/** The payload of a job of the public queue "intake". What is sealed is not said once more beside it. */
export const IntakeJob = z
  .strictObject({
    version: z.literal(1, "must be 1"),
    sealed: z
      .string()
      .min(1)
      .max(SEALED_MOST)
      .optional()
      .describe(
        "A compact JWE (ECDH-ES, A256GCM) for the key that `signpipe intake key` prints, of a JSON object with manifest and, if you like, documents and enclosures.",
      ),
    manifest: manifest.optional().describe("The same in the clear, where INTAKE_PLAIN allows it."),
    documents: files.documents.optional(),
    enclosures: files.enclosures.optional(),
  })
  .meta({ title: "signpipe intake job" });
export type IntakeJob = z.infer<typeof IntakeJob>;

/** The JSON Schema of a job of the queue "intake" (draft 2020-12). */
export function intakeJsonSchema(): object {
  return z.toJSONSchema(IntakeJob, { io: "input", unrepresentable: "any" });
}

/** What is wrong with which field. Never repeats a value. */
export function toProblems(error: z.ZodError, whole: string): { field: string; message: string }[] {
  return error.issues.slice(0, 20).flatMap((issue) => {
    const path = issue.path.map(String);
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({ field: [...path, key.slice(0, 60)].join("."), message: "is not known here" }));
    }
    const message = issue.message.startsWith("Invalid") ? "is missing, or has the wrong form" : issue.message;
    return [{ field: path.join(".") || whole, message }];
  });
}
