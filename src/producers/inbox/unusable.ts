import type { Failure } from "../../core/errors.ts";
import type { ManifestProblem } from "../manifest.ts";
import { DEFAULTS, REQUEST } from "./ignore.ts";
import { type RawName, toText } from "./names.ts";

/** Why a file cannot be used: a code, and one sentence that says what to do. */
export interface Reason {
  code: string;
  message: string;
}

const AGAIN = "then drop it into the inbox again";
const MOST_NAMED = 5;

/** What to do about a document that cannot be signed, by the code with which it was refused. */
const REMEDIES: Record<string, string> = {
  "file-empty": `The file is empty; save or copy it anew, ${AGAIN}.`,
  "not-a-pdf": `The file is named .pdf but is not a PDF; convert it to PDF, ${AGAIN}.`,
  "pdf-incomplete": `The PDF is incomplete, its end is missing; copy it anew, ${AGAIN}.`,
  "pdf-encrypted": `The PDF is encrypted or protected by a password; save it without protection, ${AGAIN}.`,
  "file-too-large":
    "The file is larger than MAX_DOCUMENT_BYTES; make it smaller, or have the operator raise that limit.",
  "not-a-regular-file": `It is a link, a pipe or a device and was not opened; put the file itself into the inbox.`,
};

/** The sentence for a refused document. `name` says which one, when there are several. */
export function refused(failure: Failure, name?: RawName): Reason {
  const message = REMEDIES[failure.code] ?? endSentence(failure.message);
  return { code: failure.code, message: name === undefined ? message : `${quote(name)}: ${message}` };
}

export function special(): Reason {
  return { code: "not-a-regular-file", message: REMEDIES["not-a-regular-file"] ?? "" };
}

/** The manifest is a link, or no file at all. */
export function requestSpecial(): Reason {
  return {
    code: "not-a-regular-file",
    message: `The JSON file that says who signs is not a regular file; put the file itself there, ${AGAIN}.`,
  };
}

/** Nobody said who signs. */
export function noRequest(raw: RawName, form: "file" | "folder"): Reason {
  const message =
    form === "file"
      ? `It is not known who signs: put ${quote(`${raw}.json`)} beside it, or a ${DEFAULTS} into the inbox, ${AGAIN}.`
      : `It is not known who signs: put a ${REQUEST} into the folder, ${AGAIN}.`;
  return { code: "request-missing", message };
}

export function sidecarGone(raw: RawName): Reason {
  const message = `Its sidecar ${quote(`${raw}.json`)} disappeared while it was taken; drop both into the inbox again.`;
  return { code: "request-missing", message };
}

/** `file` is the manifest's own name. */
export function badRequest(file: RawName, problems: readonly ManifestProblem[]): Reason {
  const list = problems.map(({ field, message }) => `${field === "manifest" ? "it" : field} ${message}`).join("; ");
  return { code: "invalid-manifest", message: `${quote(file)} cannot be used: ${list}. Correct it, ${AGAIN}.` };
}

export function wrongFolder(pdfs: readonly RawName[], strangers: readonly RawName[], most: number): Reason | undefined {
  if (strangers.length > 0) {
    const named = strangers.slice(0, MOST_NAMED).map(quote).join(", ");
    const more = strangers.length > MOST_NAMED ? ` and ${strangers.length - MOST_NAMED} more` : "";
    return {
      code: "folder-with-other-files",
      message: `A folder takes PDFs and ${REQUEST} only; take ${named}${more} out of it, ${AGAIN}.`,
    };
  }
  if (pdfs.length === 0)
    return { code: "no-documents", message: `The folder has no PDF; put 1 to ${most} into it, ${AGAIN}.` };
  if (pdfs.length <= most) return undefined;
  const message = `The folder has ${pdfs.length} PDFs and one request takes ${most}; split it, ${AGAIN}.`;
  return { code: "too-many-documents", message };
}

export function unsupported(raw: RawName, kind: string): Reason {
  if (kind === "sidecar") {
    const pdf = quote(raw.slice(0, -".json".length));
    return {
      code: "pdf-missing",
      message: `It waits for ${pdf}: put that PDF beside it, or take it out of the inbox.`,
    };
  }
  if (raw === REQUEST) {
    const message = `${REQUEST} belongs into a folder together with its PDFs; for single PDFs rename it to ${DEFAULTS}.`;
    return { code: "unsupported-file", message };
  }
  return {
    code: "unsupported-file",
    message:
      "Only PDFs, their .pdf.json files and folders are taken; it stays here until you convert it or take it away.",
  };
}

/** A name between quotes, without anything that a person could not see. */
function quote(raw: RawName): string {
  return `"${toText(raw).replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?")}"`;
}

function endSentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
