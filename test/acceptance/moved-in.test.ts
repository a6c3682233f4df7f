import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { describe, test } from "vitest";
import { samplePdf, SIGNER } from "../helpers/house.ts";
import { digestsOf, KINDS, namesOf, PATIENCE, sha256, startPlace } from "./place.ts";

/** So that only an event can have told of it. */
const HOURLY = { settings: { INBOX_SWEEP_MS: "3600000" }, entry: { sweep: "1h", watch: "native" } };

describe.each(KINDS)("%s", (kind) => {
  test.concurrent(
    "W10: what is written under a name that says so is left alone, and taken once it is renamed",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, { atEnd });
      const whole = await samplePdf();
      for (const name of ["x.pdf.part", ".y.pdf", "z.pdf.tmp"]) writeFileSync(place.at("inbox", name), whole);
      await place.watched();
      expect(place.figures()).toMatchObject({ claimed: 0, settling: 0, waiting: 0 });
      renameSync(place.at("inbox", "x.pdf.part"), place.at("inbox", "x.pdf"));
      const request = await place.only();
      expect(namesOf(request)).toEqual(["x.pdf"]);
      expect(digestsOf(request)).toEqual([sha256(whole)]);
      expect(place.names("inbox")).toEqual(["z.pdf.tmp"]);
    },
  );

  test.concurrent(
    "W27: a folder that is moved in with all that is in it is noticed by its event alone, and is one request",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, { ...HOURLY, atEnd });
      await place.listed();
      const outside = `${place.dir}-outside`;
      mkdirSync(outside);
      const names = ["1 agreement.pdf", "2 terms.pdf", "10 annex.pdf"];
      for (const name of names) writeFileSync(`${outside}/${name}`, await samplePdf());
      writeFileSync(`${outside}/request.json`, JSON.stringify({ signer: SIGNER }));
      renameSync(outside, place.at("inbox", "loan 2031"));
      expect(namesOf(await place.only())).toEqual(names);
      expect(place.names("inbox")).toEqual([]);
    },
  );

  test.concurrent(
    "W20, W27: a tree with a folder in a folder comes back whole, with the reason, and keeps nobody else out",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, { ...HOURLY, atEnd });
      await place.listed();
      const outside = `${place.dir}-outside`;
      mkdirSync(`${outside}/more/and more`, { recursive: true });
      const deep = await samplePdf();
      writeFileSync(`${outside}/a.pdf`, await samplePdf());
      writeFileSync(`${outside}/more/and more/b.pdf`, deep);
      writeFileSync(`${outside}/request.json`, JSON.stringify({ signer: SIGNER }));
      renameSync(outside, place.at("inbox", "tree"));
      place.drop("neighbour.pdf", await samplePdf());
      await expect.poll(() => place.noteOf("tree"), PATIENCE).toBe("folder-with-other-files");
      expect(place.names("failed/tree/more/and more")).toEqual(["b.pdf"]);
      expect(place.names("failed/tree")).toEqual(["a.pdf", "more", "request.json"]);
      expect(namesOf(await place.only())).toEqual(["neighbour.pdf"]);
    },
  );
});
