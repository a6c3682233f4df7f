import { fromText, type RawName, toDocumentName, toText } from "./names.ts";

/**
 * Which sidecar belongs to which PDF, or file of another kind. The name as it is comes first. But a Mac may spell "é" in two characters where
 * another system takes one, and Windows does not tell ".PDF" from ".pdf": names that look the same to the person who
 * dropped them are a pair as well. Else the PDF would go to whoever stands in defaults.json.
 */
export function createPairs({ has }: { has: (raw: RawName) => boolean }) {
  /** Sidecars under another spelling than the plain one, by the plain spelling of their file. */
  const odd = new Map<RawName, RawName>();

  /** Whether the sidecar is there, and is not that of another file which has exactly its name. */
  function isFree(sidecar: RawName | undefined, file: RawName): boolean {
    if (sidecar === undefined || !has(sidecar)) return false;
    return toDocumentName(sidecar) === file || !has(toDocumentName(sidecar));
  }

  return {
    see(sidecar: RawName): void {
      const plain = toPlain(toDocumentName(sidecar));
      if (`${plain}.json` !== sidecar) odd.set(plain, sidecar);
    },

    forget(raw: RawName): void {
      if (odd.size === 0) return;
      const plain = toPlain(toDocumentName(raw));
      if (odd.get(plain) === raw) odd.delete(plain);
    },

    /** The sidecar of a file, if there is one. */
    sidecarOf(file: RawName): RawName | undefined {
      if (has(`${file}.json`)) return `${file}.json`;
      const plain = toPlain(file);
      return [`${plain}.json`, odd.get(plain)].find((sidecar) => isFree(sidecar, file));
    },

    /** The file of a sidecar, whether it is there or not. */
    documentOf(sidecar: RawName): RawName {
      const file = toDocumentName(sidecar);
      return has(file) ? file : toPlain(file);
    },
  };
}

/** Composed characters, and a PDF's ending in small letters. Bytes that are no text stay as they are. */
function toPlain(file: RawName): RawName {
  const text = toText(file);
  if (fromText(text) !== file) return file;
  return fromText(text.normalize("NFC").replace(/\.pdf$/i, ".pdf"));
}
