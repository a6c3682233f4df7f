import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type Manifest, MANIFEST_BYTES, type ManifestFrame, namedFiles, readManifest } from "../manifest.ts";
import { errnoOf } from "./look.ts";
import type { RawName } from "./names.ts";
import { badRequest, filesWithoutFolder, type Reason, requestSpecial } from "./unusable.ts";

/** Carries a reason out of a step. */
export class Unusable extends Error {
  override readonly name = "Unusable";
  readonly reason: Reason;
  constructor(reason: Reason) {
    super(reason.code);
    this.reason = reason;
  }
}

/** What holds for every manifest of an inbox. */
export interface Standing {
  /** What they say where they leave it out. */
  defaults?: Readonly<Record<string, unknown>> | undefined;
  /** On whose account all of them are. */
  tenant?: string | undefined;
  /** What the folders say that lead to it: a manifest may say the same, or nothing. */
  fixed?: Readonly<Record<string, string>> | undefined;
}

/** Whether the standing defaults of an inbox say all that is needed of a PDF that comes alone. */
export function isEnough(standing: Standing): boolean {
  return standing.defaults?.["signer"] !== undefined;
}

/** The same, for whoever reads a manifest. */
export function frameOf({ defaults, tenant, fixed }: Standing): ManifestFrame {
  return { under: defaults, tenant, fixed };
}

const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** The file's bytes, when it is there; cut off behind the limit, which the reader of manifests notices. */
export function readSmall(path: string | Buffer): Buffer | undefined {
  let file: number;
  try {
    file = openSync(path, READ);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    if (errnoOf(error) === "ELOOP" || errnoOf(error) === "ENXIO") throw new Unusable(requestSpecial());
    throw error;
  }
  try {
    if (!fstatSync(file).isFile()) throw new Unusable(requestSpecial());
    const buffer = Buffer.allocUnsafe(MANIFEST_BYTES + 1);
    return Buffer.from(buffer.subarray(0, readSync(file, buffer, 0, buffer.length, 0)));
  } finally {
    closeSync(file);
  }
}

/**
 * The manifest in a file that is called `name`, of a folder or of a PDF that came without one. Throws Unusable, with
 * each field that is wrong.
 */
export function toManifest(
  bytes: Buffer | object,
  name: RawName,
  form: "folder" | "file",
  standing: Standing = {},
): Manifest {
  const read = readManifest(bytes, frameOf(standing));
  if (!read.ok) throw new Unusable(badRequest(name, read.problems));
  const files = namedFiles(read.manifest.identity);
  if (form === "file" && files.length > 0) throw new Unusable(filesWithoutFolder(name, files));
  return read.manifest;
}
