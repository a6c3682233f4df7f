import { type PDFArray, PDFDict, PDFDocument, PDFName, PDFRef } from "@cantoo/pdf-lib";

/**
 * The same pages as another document, with nothing but them: no scripts, attachments, form or signatures. Undefined when
 * the PDF cannot be read.
 */
export async function rewrite(bytes: Uint8Array): Promise<Buffer | undefined> {
  try {
    const [from, to] = [await PDFDocument.load(bytes), await PDFDocument.create()];
    for (const page of await to.copyPages(from, from.getPageIndices())) {
      removeSignatures(to, page.node.Annots());
      to.addPage(page);
    }
    return Buffer.from(await to.save({ useObjectStreams: false, updateFieldAppearances: false }));
  } catch {
    return undefined;
  }
}

function removeSignatures({ context }: PDFDocument, annotations: PDFArray | undefined): void {
  for (let i = (annotations?.size() ?? 0) - 1; i >= 0; i--) {
    const field = annotations?.lookup(i);
    if (!(field instanceof PDFDict) || field.get(PDFName.of("FT")) !== PDFName.of("Sig")) continue;
    for (const ref of [field.get(PDFName.of("V")), annotations?.get(i)]) if (ref instanceof PDFRef) context.delete(ref);
    annotations?.remove(i);
  }
}
