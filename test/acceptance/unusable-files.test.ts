import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { samplePdf, SIGNER } from "../helpers/house.ts";
import { pdfsig } from "../helpers/pdfsig.ts";
import { makePdf } from "../integration/inbox-house.ts";
import { digestsOf, KINDS, namesOf, PATIENCE, SETTLE_MS, sha256, startPlace } from "./place.ts";

describe.each(KINDS)("%s", (kind) => {
  test("W20, W21: an encrypted and a truncated PDF come back with their reasons, and their neighbour is taken", async () => {
    const place = await startPlace(kind, { settings: { INBOX_INCOMPLETE_MS: String(4 * SETTLE_MS) } });
    const whole = await samplePdf();
    place.drop("encrypted.pdf", makePdf("secret", { encrypted: true }));
    place.drop("truncated.pdf", whole.subarray(0, whole.length - 40));
    place.drop("letter.pdf", "no pdf at all");
    place.drop("neighbour.pdf", whole);
    await expect.poll(() => place.figures().failed, PATIENCE).toBe(3);
    expect(["encrypted.pdf", "truncated.pdf", "letter.pdf"].map(place.noteOf)).toEqual([
      "pdf-encrypted",
      "pdf-incomplete",
      "not-a-pdf",
    ]);
    const why = readFileSync(place.at("failed", "encrypted.pdf.error.txt"), "utf8");
    expect(why).toMatch(/^encrypted\.pdf: .*save it without protection, then drop it into the inbox again\.\n$/);
    expect(digestsOf(await place.only())).toEqual([sha256(whole)]);
    expect(place.names("inbox")).toEqual([]);
  });

  test("W20: a PDF that is signed already is signed once more, and has both signatures", async () => {
    const place = await startPlace(kind, {
      settings: { APPROVAL: "auto" },
      standing: { signer: SIGNER, authentication: { method: "external", type: "bank", value: "1" } },
      simulator: { humans: { signer: "auto", signerDelayMs: 0 } },
      work: true,
    });
    const signedAs = async (name: string) => {
      const id = await place.taken(name);
      await expect.poll(() => place.status(name)["state"], PATIENCE).toBe("done");
      return place.at("signed", id, `${name}.signed.pdf`);
    };
    place.drop("once.pdf", await samplePdf());
    place.drop("twice.pdf", readFileSync(await signedAs("once.pdf")));
    const twice = await signedAs("twice.pdf");
    const signatures = readFileSync(twice, "latin1").match(/\/ByteRange/g);
    expect(signatures).toHaveLength(2);
    const verdict = pdfsig(twice);
    if (verdict !== undefined) expect(verdict.match(/Signature is Valid/g)).toHaveLength(2);
    expect(place.names("failed")).toEqual([]);
  });

  test("W24: a file of another kind stays where it is, untouched, whatever else comes and goes", async () => {
    const place = await startPlace(kind);
    writeFileSync(place.at("inbox", "photo.jpg"), "a picture");
    await place.watched();
    place.drop("lease.pdf", await samplePdf());
    expect(namesOf(await place.only())).toEqual(["lease.pdf"]);
    await place.watched();
    expect(place.names("inbox")).toEqual(["photo.jpg"]);
    expect(readFileSync(place.at("inbox", "photo.jpg"), "utf8")).toBe("a picture");
    expect(place.figures()).toMatchObject({ claimed: 1, failed: 0 });
  });
});
