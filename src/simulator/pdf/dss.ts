import { deflateSync } from "node:zlib";
import { isDict, name } from "./syntax.ts";
import type { PdfDict, PdfRef, PdfValue } from "./syntax.ts";
import { withPdf } from "./document.ts";
import { increment } from "./increment.ts";
import type { Source } from "./source.ts";

/** What a validator needs years later: the certificates and revocation lists that were good at the signing, in DER. */
export type ValidationData = { certificates: Buffer[]; revocations: Buffer[] };

/**
 * The bytes to append to a signed PDF so that it carries what its validation needs. Throws Unsignable.
 * @source ETSI EN 319 142-1 §5.4.2
 */
export function validationUpdate(source: Source, data: ValidationData): Buffer {
  return withPdf(source, (document) => {
    const { bytes } = increment(document, ({ add, replace }) => {
      const stream = (der: Buffer): PdfRef =>
        add(new Map<string, PdfValue>([["Filter", name("FlateDecode")]]), deflateSync(der));
      const [certs, crls] = [data.certificates.map(stream), data.revocations.map(stream)];
      const catalog = document.resolve(document.root) as PdfDict;
      const present = document.resolve(catalog.get("DSS"));
      const earlier = isDict(present) ? present : new Map<string, PdfValue>();
      const and = (key: string, more: PdfRef[]): PdfValue[] => {
        const there = document.resolve(earlier.get(key));
        return [...(Array.isArray(there) ? there : []), ...more];
      };
      const store = new Map<string, PdfValue>([
        ...earlier,
        ["Type", name("DSS")],
        ["Certs", and("Certs", certs)],
        ["CRLs", and("CRLs", crls)],
      ]);
      replace(document.root, new Map(catalog).set("DSS", add(store)));
    });
    return bytes;
  });
}
