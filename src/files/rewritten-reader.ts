/**
 * The thread that reads two PDFs page by page, for rewritten.ts: it asks for the bytes that it needs, says that the
 * numbers of pages agree, then what it found. It is ended from outside when it takes too long, or too much.
 */
import { parentPort } from "node:worker_threads";
import { getDocument, PDFDataRangeTransport, type PDFDocumentProxy } from "unpdf/pdfjs";
import { isSamePage, type Page } from "./page-text.ts";
import type { Answer, Asked, By, Question } from "./rewritten.ts";

const PIECE_BYTES = 1 << 18;
/** What was read, and what was made of it, stays in memory until the end: after this much another reader goes on. */
const READ_BYTES = 32 << 20;
const READ_PAGES = 250;
/** Annotations that show nothing of their own. */
const UNSEEN = ["Link", "Popup"];

if (!parentPort) throw new Error("rewritten-reader.ts is a worker thread of rewritten.ts");
const port = parentPort;

let sources: Source[] = [];

port.on("message", (asked: Asked) => {
  if ("bytes" in asked) sources[asked.of]?.onDataRange(asked.at, asked.bytes);
  else void compare(asked).then(say);
});

function say(answer: Answer): void {
  port.postMessage(answer);
}

/** A PDF whose bytes are asked for as they are needed, so that one of any size can be read. */
class Source extends PDFDataRangeTransport {
  readonly #of: 0 | 1;
  readBytes = 0;
  constructor(sizeBytes: number, of: 0 | 1) {
    super(sizeBytes, null);
    this.#of = of;
  }
  override requestDataRange(begin: number, end: number): void {
    this.readBytes += end - begin;
    say({ of: this.#of, at: begin, length: end - begin });
  }
}

async function compare({ sizesBytes, by, from }: Question): Promise<Answer> {
  const [first, second] = [new Source(sizesBytes[0], 0), new Source(sizesBytes[1], 1)];
  sources = [first, second];
  const tasks = sources.map((range) =>
    getDocument({
      range,
      rangeChunkSize: PIECE_BYTES,
      disableAutoFetch: true,
      disableStream: true,
      disableFontFace: true,
      useSystemFonts: false,
      useWorkerFetch: false,
      verbosity: 0,
    }),
  );
  try {
    const original = await tasks[0]?.promise.catch(() => undefined);
    if (!original) return { isSame: true, by: "nothing" };
    const found = await tasks[1]?.promise.catch(refusal);
    if (!found) return { isSame: true, by: "nothing" };
    if (found === "broken" || original.numPages !== found.numPages) return { isSame: false, by: "pages" };
    if (by === "pages") return { isSame: true, by };
    say("as many pages");
    return await comparePages(original, found, from);
  } finally {
    await Promise.all(tasks.map((task) => task.destroy()));
    sources = [];
  }
}

/** What cannot be opened although its original can: it is no PDF any more, or nobody knows. */
function refusal(error: unknown): "broken" | undefined {
  const { name } = error as Error;
  return name === "InvalidPDFException" || name === "PasswordException" ? "broken" : undefined;
}

async function comparePages(original: PDFDocumentProxy, found: PDFDocumentProxy, from: number): Promise<Answer> {
  const { numPages } = original;
  let by: By = "pages";
  for (let n = from; n <= numPages; n++) {
    if (n - from >= READ_PAGES || (n > from && readBytes() > READ_BYTES)) return { from: n };
    const wanted = await readPage(original, n).catch(() => undefined);
    if (!wanted) continue;
    by = "text";
    const there = await readPage(found, n).catch(() => undefined);
    if (!there || !isSamePage(wanted, there)) return { isSame: false, by };
  }
  return { isSame: true, by };
}

function readBytes(): number {
  return sources.reduce((sum, source) => sum + source.readBytes, 0);
}

async function readPage(pdf: PDFDocumentProxy, n: number): Promise<Page> {
  const page = await pdf.getPage(n);
  try {
    const { items } = await page.getTextContent({ disableNormalization: true });
    const notes = (await page.getAnnotations()) as { subtype?: string }[];
    const { width, height } = page.getViewport({ scale: 1 });
    return {
      text: items.map((item) => ("str" in item ? item.str : "")).join(""),
      sides: width < height ? [width, height] : [height, width],
      hasNotes: notes.some(({ subtype = "" }) => !UNSEEN.includes(subtype)),
    };
  } finally {
    page.cleanup();
  }
}
