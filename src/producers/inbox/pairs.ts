import { fromText, type RawName, toPdfName, toText } from "./names.ts";

/**
 * Which sidecar belongs to which PDF. The name as it is comes first. But a Mac may spell "é" in two characters where
 * another system takes one, and Windows does not tell ".PDF" from ".pdf": names that look the same to the person who
 * dropped them are a pair as well. Else the PDF would go to whoever stands in defaults.json.
 */
export function createPairs({ has }: { has: (raw: RawName) => boolean }) {
  /** Sidecars under another spelling than the plain one, by the plain spelling of their PDF. */
  const odd = new Map<RawName, RawName>();

  /** Whether the sidecar is there, and is not that of another PDF which has exactly its name. */
  function isFree(sidecar: RawName | undefined, pdf: RawName): boolean {
    if (sidecar === undefined || !has(sidecar)) return false;
    return toPdfName(sidecar) === pdf || !has(toPdfName(sidecar));
  }

  return {
    see(sidecar: RawName): void {
      const plain = toPlain(toPdfName(sidecar));
      if (`${plain}.json` !== sidecar) odd.set(plain, sidecar);
    },

    forget(raw: RawName): void {
      if (odd.size === 0) return;
      const plain = toPlain(toPdfName(raw));
      if (odd.get(plain) === raw) odd.delete(plain);
    },

    /** The sidecar of a PDF, if there is one. */
    sidecarOf(pdf: RawName): RawName | undefined {
      if (has(`${pdf}.json`)) return `${pdf}.json`;
      const plain = toPlain(pdf);
      return [`${plain}.json`, odd.get(plain)].find((sidecar) => isFree(sidecar, pdf));
    },

    /** The PDF of a sidecar, whether it is there or not. */
    pdfOf(sidecar: RawName): RawName {
      const pdf = toPdfName(sidecar);
      return has(pdf) ? pdf : toPlain(pdf);
    },
  };
}

/** Composed characters, and the ending in small letters. Bytes that are no text stay as they are. */
function toPlain(pdf: RawName): RawName {
  const text = toText(pdf);
  if (fromText(text) !== pdf) return pdf;
  return fromText(text.normalize("NFC").replace(/\.pdf$/i, ".pdf"));
}
