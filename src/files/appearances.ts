import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { PermanentError } from "../core/errors.ts";
import { liesOn, sizeOf, toBox } from "../core/place.ts";
import { Appearance, type Format, isPicture, type Picture } from "../core/signing.ts";
import { fill, openRegular, withContent } from "./content.ts";
import { isMissing, withDisk, writeDurably } from "./durable.ts";
import { isPngHead } from "./enclosure.ts";
import { findPage } from "./pdf-pages.ts";

/** A template is a few lines. */
const TEMPLATE_MOST_BYTES = 64 * 1024;
/** Nothing that is drawn beside a signature needs more. */
const PICTURE_MOST_BYTES = 5 * 1024 ** 2;
const NAMED_MOST = 20;
const FIELD = "signature.appearance";
/** How a PNG ends. @source ISO/IEC 15948 §11.2.5 */
const PNG_END = /0000000049454e44ae426082$/;

export type Appearances = ReturnType<typeof createAppearances>;

/** A document by its place on the disk, and its name for who handed it in. */
export interface Shown {
  path: string;
  name: string;
}

/** What a request asks for: an appearance, or the name of a template for it. */
export interface Wanted {
  format?: Format | undefined;
  appearance?: Appearance | string | undefined;
}

/** What was asked for, as it fits the documents. */
export interface Fitted {
  signature?: { format?: Format | undefined; appearance?: Appearance | undefined };
  /** The image, when it is one of ours; the appearance still has the name of its file. */
  picture?: Picture;
  /** Of a document nobody could tell whether the signature lies on its page. */
  isPlaceUnchecked?: true;
}

/**
 * How signatures look: templates (NAME.json) and images (PNG) of the operator in `dir`. Images that are used are kept by
 * their bytes in `kept`, so that what was handed in with one is signed with the same, whatever becomes of the file.
 */
export function createAppearances({ dir, kept }: { dir: string; kept: string }) {
  async function namesWith(ending: RegExp): Promise<string> {
    const names = await readdir(dir).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    });
    const found = names.filter((name) => ending.test(name) && !name.startsWith(".")).sort();
    const shown = found.slice(0, NAMED_MOST).map((name) => `"${name.replace(/\.json$/, "")}"`);
    if (shown.length === 0) return "there is none here";
    return `there ${found.length === 1 ? "is" : "are"} ${shown.join(", ")}${found.length > NAMED_MOST ? ", …" : ""}`;
  }

  /** The bytes of a file of the operator's, which may be a link; undefined when there is none of that name. */
  async function readOwn(name: string, mostBytes: number): Promise<Buffer | undefined> {
    try {
      const found = await stat(join(dir, name));
      if (!found.isFile() || found.size > mostBytes) return Buffer.alloc(0);
      return await readFile(join(dir, name));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async function templateOf(name: string): Promise<Appearance> {
    const bytes = await readOwn(`${name}.json`, TEMPLATE_MOST_BYTES);
    if (!bytes) throw unfit(FIELD, `names a template that is not there: ${await namesWith(/\.json$/)}`);
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString("utf8").replace(/^\uFEFF/, ""));
    } catch {
      throw unfit(FIELD, `names the template "${name}", which is not JSON; the operator has to correct it`);
    }
    const read = Appearance.safeParse(value);
    if (read.success) return read.data;
    const [issue] = read.error.issues;
    const why = `${issue?.path.join(".") ?? ""} ${issue?.message ?? ""}`.trim();
    throw unfit(FIELD, `names the template "${name}", which cannot be used (${why}); the operator has to correct it`);
  }

  async function keep(name: string): Promise<Picture> {
    const bytes = await readOwn(name, PICTURE_MOST_BYTES);
    const field = `${FIELD}.image`;
    if (!bytes) throw unfit(field, `names a file that is not in APPEARANCE_DIR: ${await namesWith(/\.png$/i)}`);
    const isPng = isPngHead(bytes) && PNG_END.test(bytes.subarray(-12).toString("hex"));
    if (!isPng) throw unfit(field, `names a file that is not a whole PNG of at most 5 MiB`);
    const picture = { sha256: createHash("sha256").update(bytes).digest("hex"), sizeBytes: bytes.length };
    const isThere = await stat(pathOf(picture)).then(
      ({ size }) => size === bytes.length,
      () => false,
    );
    if (!isThere) await writeDurably({ dir: kept, name: nameOf(picture), source: piecesOf(bytes) });
    return picture;
  }

  const pathOf = (picture: Picture) => join(kept, nameOf(picture));

  return {
    /**
     * What a request asks for, looked up and held against each of its documents, before anything is sent. Throws
     * PermanentError "invalid-manifest", with the field in `fields`: a template or image that is not there or cannot be
     * used, a page that a document does not have, a place that is not on the page. Where the page of a document cannot
     * be looked up, that is said and not refused: the file may well be in order.
     */
    async fit({ format, appearance: wanted }: Wanted = {}, documents: readonly Shown[]): Promise<Fitted> {
      if (wanted === undefined) return format === undefined ? {} : { signature: { format } };
      const appearance = typeof wanted === "string" ? await templateOf(wanted) : wanted;
      const { image } = appearance;
      const picture = image !== undefined && isPicture(image) ? await keep(image) : undefined;
      let isUnchecked = false;
      for (const document of documents) {
        if ((await checkPlace(appearance, document)) === "unknown") isUnchecked = true;
      }
      return {
        signature: { ...(format && { format }), appearance },
        ...(picture && { picture }),
        ...(isUnchecked && { isPlaceUnchecked: true }),
      };
    },

    /** The bytes of an image that was kept. Throws PermanentError "image-gone" when they are not there any more. */
    async *open(picture: Picture): AsyncGenerator<Buffer, void, undefined> {
      const { file, sizeBytes } = await openRegular(pathOf(picture)).catch((cause: unknown) => {
        if (!isMissing(cause)) throw cause;
        throw new PermanentError("The image of the signature's appearance is not kept here any more", {
          code: "image-gone",
          cause,
        });
      });
      try {
        const bytes = Buffer.alloc(sizeBytes);
        await withDisk(() => fill(file, bytes, 0));
        yield bytes;
      } finally {
        await file.close();
      }
    },
  };
}

async function checkPlace({ page, position }: Appearance, { path, name }: Shown): Promise<"fits" | "unknown"> {
  const found = await withContent(path, (content) => findPage(content, page));
  if (!found) return "unknown";
  const { pages, shape } = found;
  if (!shape) {
    const has = pages === 1 ? "1 page" : `${pages} pages`;
    throw unfit(`${FIELD}.page`, `is ${page}, where 0 is the first, and "${name}" has ${has}`);
  }
  if (liesOn(toBox(position), shape)) return "fits";
  const { width, height } = sizeOf(shape);
  const { x1, y1 } = shape.box;
  const turned = shape.turned === 0 ? "" : ` and turned by ${shape.turned}°`;
  const begins = x1 === 0 && y1 === 0 ? "" : ` and begins at ${Math.round(x1)}, ${Math.round(y1)}`;
  const what = `page ${page} of "${name}", which is ${width} × ${height} points${turned}${begins}`;
  throw unfit(`${FIELD}.position`, `does not lie on ${what}`);
}

function unfit(field: string, sentence: string): PermanentError {
  return new PermanentError(`${field} ${sentence}`, { code: "invalid-manifest", fields: { [field]: sentence } });
}

function nameOf({ sha256 }: Picture): string {
  return `${sha256}.png`;
}

async function* piecesOf(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  yield bytes;
}
