import type { Failure } from "../../core/errors.ts";
import type { EnclosureRole } from "../../core/identity.ts";
import type { Format } from "../../core/signing.ts";
import { isHashFileName } from "../../files/hash-file.ts";
import { fieldOf, type ManifestProblem, type NamedFile } from "../manifest.ts";
import { announcementOf, DEFAULTS, REQUEST } from "./ignore.ts";
import { fromText, isJsonName, isPossible, nameOf, type RawName, toDocumentName, toVisible } from "./names.ts";

/** Why a file cannot be used: a code, and one sentence that says what to do. */
export interface Reason {
  code: string;
  message: string;
}

const AGAIN = "then drop it into the inbox again";
const MOST_NAMED = 5;
const FOLDERS_NAMED = 20;
/** What a manifest says to have files of any kind signed by their hash. */
const ASKS = '"signature": {"format": "cms"}';
const STILL_WRITTEN = "A file in the folder has a name that says it is still being written (.part, .tmp, …)";

/** What to do about a document that cannot be signed, by the code with which it was refused. */
const REMEDIES: Record<string, string> = {
  "file-empty": `The file is empty; save or copy it anew, ${AGAIN}.`,
  "not-a-pdf": `The file is named .pdf but is not a PDF; convert it to PDF, ${AGAIN}.`,
  "pdf-incomplete": `The PDF is incomplete, its end is missing; copy it anew, ${AGAIN}.`,
  "pdf-encrypted": `The PDF is encrypted or protected by a password; save it without protection, ${AGAIN}.`,
  "file-too-large":
    "The file is larger than MAX_DOCUMENT_BYTES; make it smaller, or have the operator raise that limit.",
  "not-a-picture": `It is not a JPEG or PNG picture, whatever it is called; save it as one, ${AGAIN}.`,
  "not-a-video": `It is not a video in a form that is known here, whatever it is called; convert it to MP4, MOV or WebM, ${AGAIN}.`,
  "not-a-regular-file": `It is a link, a pipe or a device and was not opened; put the file itself into the inbox.`,
};

/** The sentence for a refused document. `name` says which one, when there are several. */
export function refused(failure: Failure, name?: RawName): Reason {
  const message = REMEDIES[failure.code] ?? endSentence(failure.message);
  return { code: failure.code, message: name === undefined ? message : `${quote(name)}: ${message}` };
}

/** The same for a file that the manifest names. */
export function refusedEnclosure(failure: Failure, role: EnclosureRole, raw: RawName): Reason {
  const { code, message } = refused(failure);
  return { code, message: `${fieldOf(role)}, ${quote(raw)}: ${message}` };
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

/** A folder that stands on none of the ways that the template of the inbox knows. */
export function unknownFolder(
  raw: RawName,
  { word, known }: { word: string | undefined; known: readonly string[] },
): Reason {
  const what = word === undefined ? "a folder of this inbox" : word === "tenant" ? "a tenant" : `a known ${word}`;
  const shown = known
    .slice(0, FOLDERS_NAMED)
    .map((one) => `"${one}"`)
    .join(", ");
  const more = known.length > FOLDERS_NAMED ? ` and ${known.length - FOLDERS_NAMED} more` : "";
  const there =
    known.length === 0 ? "there is none here" : `there ${known.length === 1 ? "is" : "are"} ${shown}${more}`;
  const message = `${quote(nameOf(raw))} is not the name of ${what}: ${there}. What is in it stays there; move it to the right folder, or have the operator set this one up.`;
  return { code: "unknown-folder", message };
}

/** It lies higher up than files are taken, or a file where only folders are. */
export function misplaced(template: string): Reason {
  const message = `Files are taken in this inbox from folders like ${template}, and this lies in none of them: move it there.`;
  return { code: "misplaced", message };
}

/** The configuration has changed since it was taken. */
export function offRoute(folder: RawName): Reason {
  const message = `Its folder ${quote(folder)} is not one of this inbox any more: move it to the folder where it belongs, or have the operator set that one up.`;
  return { code: "unknown-folder", message };
}

/** A folder of the route that could not be listed. */
export function unlisted(errno: string): Reason {
  const message = `The folder cannot be listed (${errno}): allow that to the user under whom signpipe runs. It is tried again by itself.`;
  return { code: "file-busy", message };
}

/** The one who drops has not said yet that it is complete, as is asked for here. */
export function notAnnounced(raw: RawName): Reason {
  const name = quote(nameOf(announcementOf(raw)));
  return { code: "not-announced", message: `It waits for ${name} beside it, which says here that it is complete.` };
}

/** Nobody said who signs. */
export function noRequest(raw: RawName, form: "file" | "folder"): Reason {
  const told = (todo: string) => ({
    code: "request-missing",
    message: `It is not known who signs: ${todo}, ${AGAIN}.`,
  });
  if (form === "folder") return told(`put a ${REQUEST} into the folder`);
  const sidecar = `${raw}.json`;
  if (isPossible(sidecar)) return told(`put ${quote(nameOf(sidecar))} beside it, or a ${DEFAULTS} into the inbox`);
  return told(`its name is too long for a .json file beside it; make it shorter and put that file there`);
}

export function sidecarGone(raw: RawName): Reason {
  const message = `Its sidecar ${quote(nameOf(`${raw}.json`))} disappeared while it was taken; drop both into the inbox again.`;
  return { code: "request-missing", message };
}

/** `file` is the manifest's own name. */
export function badRequest(file: RawName, problems: readonly ManifestProblem[]): Reason {
  const list = problems.map(({ field, message }) => `${field === "manifest" ? "it" : field} ${message}`).join("; ");
  return { code: "invalid-manifest", message: `${quote(nameOf(file))} cannot be used: ${list}. Correct it, ${AGAIN}.` };
}

/** The same for the file that speaks for many: the PDFs need not be dropped again. */
export function brokenDefaults({ code, message }: Reason): Reason {
  const what = message.slice(0, message.lastIndexOf(`, ${AGAIN}`));
  return { code, message: `${what}; until then PDFs without a JSON file of their own wait in the inbox.` };
}

/** Two things that are the matter with the same file, so that nobody has to come twice. */
export function both(first: Reason, second: Reason): Reason {
  const besides = second.message.replace(/^[A-Z](?=[a-z ])/, (letter) => letter.toLowerCase());
  return { code: first.code, message: `${first.message.replace(`, ${AGAIN}`, "")} Besides, ${besides}` };
}

/** A PDF that is not there as a whole, and does not change. `name` says which one, in a folder. */
export function notWhole(extent: "cut" | "empty", untilMs: number, name?: RawName): Reason {
  const file = name === undefined ? "It" : quote(name);
  const what = extent === "empty" ? `${file} is empty so far` : `${file} is incomplete so far: its end is missing`;
  return { code: extent === "empty" ? "file-empty" : "pdf-incomplete", message: `${what}. ${waitsUntil(untilMs)}` };
}

/** A folder that somebody seems to be putting together. */
export function unfinished(isUnfinished: boolean, untilMs: number): Reason {
  return isUnfinished
    ? {
        code: "pdf-incomplete",
        message: `${STILL_WRITTEN}. ${waitsUntil(untilMs)}`,
      }
    : { code: "no-documents", message: `The folder has no PDF yet. ${waitsUntil(untilMs)}` };
}

function waitsUntil(untilMs: number): string {
  return `It is given time until ${new Date(untilMs).toISOString().slice(0, 16).replace("T", " ")} UTC, and set aside if nothing changes.`;
}

/** Somebody has it open, or we may not touch it. */
export function busy(errno: string): Reason {
  const isDenied = errno === "EACCES" || errno === "EPERM";
  const message = isDenied
    ? "It may not be read, or not be moved out of the inbox: allow that to the user under whom signpipe runs. It is tried again by itself."
    : `It cannot be read at the moment (${errno}): close it where it is open. It is tried again by itself.`;
  return { code: "file-busy", message };
}

/** What of a folder is the matter, besides its manifest. `missing` are files that the manifest names. */
export function wrongFolder(
  {
    documents,
    strangers,
    missing,
    isUnfinished,
    format,
  }: {
    documents: readonly RawName[];
    strangers: readonly RawName[];
    missing: readonly NamedFile[];
    isUnfinished: boolean;
    format: Format;
  },
  most: number,
): Reason | undefined {
  const stranger = strangers.length > 0 ? withStrangers(strangers, format) : undefined;
  // A name that is misspelt is a file that is missing and one that nobody named.
  if (missing.length > 0) return stranger ? both(notThere(missing), stranger) : notThere(missing);
  if (stranger) return stranger;
  if (isUnfinished) {
    // Signed without it, the request would lack a document that somebody meant to be in it.
    const message = `${STILL_WRITTEN}; finish it or take it out, ${AGAIN}.`;
    return { code: "pdf-incomplete", message };
  }
  const [one, many] = format === "cms" ? ["file to be signed", "files"] : ["PDF", "PDFs"];
  if (documents.length === 0)
    return { code: "no-documents", message: `The folder has no ${one}; put 1 to ${most} into it, ${AGAIN}.` };
  if (documents.length <= most) return undefined;
  const message = `The folder has ${documents.length} ${many}, and ${most} are taken at once; split it, ${AGAIN}, or have the operator raise MAX_DOCUMENTS.`;
  return { code: "too-many-documents", message };
}

function withStrangers(strangers: readonly RawName[], format: Format): Reason {
  const named = strangers.slice(0, MOST_NAMED).map(quote).join(", ");
  const more = strangers.length > MOST_NAMED ? ` and ${strangers.length - MOST_NAMED} more` : "";
  const takes =
    format === "cms"
      ? `In a folder ${REQUEST} speaks for all files, which lie in it side by side`
      : `A folder takes PDFs, ${REQUEST} and the files that it names under "identity"`;
  return {
    code: "folder-with-other-files",
    message: `${takes}; take ${named}${more} out of it, ${AGAIN}.`,
  };
}

function notThere(missing: readonly NamedFile[]): Reason {
  const named = missing.map(({ role, name }) => `${fieldOf(role)} names ${quote(fromText(name))}`).join(", ");
  const what =
    missing.length === 1 ? "which is not in the folder; put it there" : "which are not there; put them there";
  return { code: "enclosure-missing", message: `In ${quote(REQUEST)}, ${named}, ${what}, ${AGAIN}.` };
}

/** The manifest of a PDF that came alone names files, and nothing can come with it. */
export function filesWithoutFolder(file: RawName, files: readonly NamedFile[]): Reason {
  const fields = files.map(({ role }) => fieldOf(role)).join(", ");
  const message = `${quote(nameOf(file))} names files (${fields}), and only a folder can bring them: put the PDF, the files and a ${REQUEST} into one, ${AGAIN}.`;
  return { code: "invalid-manifest", message };
}

export function unsupported(raw: RawName, kind: string): Reason {
  if (kind === "sidecar") {
    const pdf = quote(nameOf(toDocumentName(raw)));
    return {
      code: "pdf-missing",
      message: `It waits for ${pdf}: put that PDF beside it, or take it out of the inbox.`,
    };
  }
  if (nameOf(raw) === REQUEST) {
    const message = `${REQUEST} belongs into a folder together with its PDFs; for single PDFs rename it to ${DEFAULTS}.`;
    return { code: "unsupported-file", message };
  }
  if (isHashFileName(raw)) {
    const message = `A hash file is signed when ${sidecarThatAsks(raw)}; it stays here until then.`;
    return { code: "unsupported-file", message };
  }
  if (isJsonName(raw)) {
    const pdf = quote(nameOf(raw).replace(/\.json$/i, ".pdf.json"));
    const message = `A JSON file belongs to the file that it is named after: if it says who signs, rename it, for instance to ${pdf}.`;
    return { code: "unsupported-file", message };
  }
  const message = `Only PDFs, their .pdf.json files and folders are taken; it stays here until you convert it or take it away. To have a signature apart from it (.p7m) made, see that ${sidecarThatAsks(raw)}.`;
  return { code: "unsupported-file", message };
}

/** A file of another kind than PDF whose sidecar does not say that its hash is to be signed. */
export function notAskedFor(sidecar: RawName): Reason {
  const message = `It is not named .pdf, so only a signature apart from it can be made: if that is wanted, add ${ASKS} to ${quote(nameOf(sidecar))}; else convert the file to PDF, ${AGAIN}.`;
  return { code: "not-a-pdf", message };
}

function sidecarThatAsks(raw: RawName): string {
  const sidecar = `${raw}.json`;
  const file = isPossible(sidecar)
    ? quote(nameOf(sidecar))
    : "a .json file named after it, for which its name is too long yet,";
  return `${file} beside it says who signs, and ${ASKS}`;
}

function quote(raw: RawName): string {
  return `"${toVisible(raw)}"`;
}

function endSentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
