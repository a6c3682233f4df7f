import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { samplePdf, SIGNER } from "../helpers/house.ts";
import { KINDS, PATIENCE, sha256, startPlace } from "./place.ts";

/** Signed without anybody's doing. */
const BY_ITSELF = {
  settings: { APPROVAL: "auto" },
  standing: { signer: SIGNER, authentication: { method: "external", type: "bank", value: "1" } },
  simulator: { humans: { signer: "auto" as const, signerDelayMs: 0 } },
  work: true,
};

const UNDECODABLE = Buffer.concat([Buffer.from([0xff, 0xfe, 0x41]), Buffer.from(".pdf")]);
const NAMES: [what: string, name: Buffer][] = [
  ["in another script, with signs", Buffer.from("契約書 №1 🖋 «draft».pdf")],
  ["of 255 bytes", Buffer.from(`${"ä".repeat(125)}x.pdf`)],
  ["whose accents stand apart, as a Mac writes them", Buffer.from("e\u0301.pdf")],
  ["the same to look at, with its accents composed", Buffer.from("é.pdf")],
  ["with a line's end in it", Buffer.from("two\nlines.pdf")],
  ["like an option of a program", Buffer.from("-rf.pdf")],
  ["that is no text", UNDECODABLE],
];

/** Names as they are on the disk. */
function rawNames(folder: string): string[] {
  return readdirSync(Buffer.from(folder), { encoding: "buffer", recursive: false }).map((name) =>
    name.toString("latin1"),
  );
}

describe.each(KINDS)("%s", (kind) => {
  test("W37: a file of any name is signed, and its original comes to the archive under that very name", async () => {
    const place = await startPlace(kind, BY_ITSELF);
    const digests = new Map<string, string>();
    for (const [, name] of NAMES) {
      const bytes = await samplePdf();
      digests.set(name.toString("latin1"), sha256(bytes));
      place.drop(name, bytes);
    }
    await place.count(NAMES.length);
    const files = () => place.names("archive").flatMap((id) => rawNames(place.at("archive", id)));
    await expect.poll(() => files().length, PATIENCE).toBe(NAMES.length);
    const archived = place.names("archive").flatMap((id) =>
      rawNames(place.at("archive", id)).map((name): [string, string] => {
        const path = Buffer.concat([Buffer.from(`${place.at("archive", id)}/`), Buffer.from(name, "latin1")]);
        return [name, sha256(readFileSync(path))];
      }),
    );
    expect(Object.fromEntries(archived)).toEqual(Object.fromEntries(digests));
    const signed = place.names("signed").flatMap((id) => place.names(`signed/${id}`));
    expect(signed.filter((name) => name.endsWith(".signed.pdf"))).toHaveLength(NAMES.length);
    expect(place.names("inbox")).toEqual([]);
  });

  test("W21: a file of any name that cannot be used comes back under it, with notes of a possible length", async () => {
    const place = await startPlace(kind);
    for (const [, name] of NAMES) place.drop(name, "no pdf");
    await expect.poll(() => place.figures().failed, PATIENCE).toBe(NAMES.length);
    const back = rawNames(place.at("failed"));
    expect(back.filter((name) => NAMES.some(([, raw]) => raw.toString("latin1") === name))).toHaveLength(NAMES.length);
    expect(back.filter((name) => name.endsWith(".error.txt"))).toHaveLength(NAMES.length);
    expect(back.filter((name) => name.endsWith(".error.json"))).toHaveLength(NAMES.length);
    expect(place.names("inbox")).toEqual([]);
    expect(await place.requests()).toEqual([]);
  });
});
