import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, closeSync, openSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { describe, test } from "vitest";
import { samplePdf } from "../helpers/house.ts";
import { digestsOf, KINDS, PATIENCE, SETTLE_MS, sha256, startPlace } from "./place.ts";

/** Ten minutes are 120 times the five seconds of life. */
const TEN_MINUTES = 120;

/** A PDF in so many pieces. */
async function inPieces(count: number): Promise<{ whole: Uint8Array; pieces: Uint8Array[] }> {
  const whole = await samplePdf({ pages: 3 });
  const size = Math.ceil(whole.length / count);
  return { whole, pieces: Array.from({ length: count }, (_, i) => whole.subarray(i * size, (i + 1) * size)) };
}

describe.each(KINDS)("%s", (kind) => {
  test.concurrent(
    "W4, W7: a slow writer, who takes the ten minutes of 120 settle times, is waited for, and signed whole",
    async ({ expect, onTestFinished: atEnd }) => {
      const settleMs = 60;
      const place = await startPlace(kind, {
        settings: { INBOX_SETTLE_MS: String(settleMs) },
        entry: { incomplete: "30s" },
        atEnd,
      });
      const { whole, pieces } = await inPieces(60);
      for (const piece of pieces) {
        appendFileSync(place.at("inbox", "slow.pdf"), piece);
        // Now and then longer than it takes to settle: then its missing end is what says that it is not whole.
        await pause(((2 * TEN_MINUTES) / pieces.length) * settleMs * Math.random());
        expect(await place.requests()).toEqual([]);
      }
      expect(digestsOf(await place.only())).toEqual([sha256(whole)]);
      expect(place.names("failed")).toEqual([]);
    },
  );

  test.concurrent(
    "W6: a writer who reserves the whole size first, as Samba does, is waited for",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, { atEnd });
      const { whole, pieces } = await inPieces(4);
      const path = place.at("inbox", "reserved.pdf");
      writeFileSync(path, "");
      truncateSync(path, whole.length);
      await place.watched();
      const file = openSync(path, "r+");
      let at = 0;
      for (const piece of pieces) {
        expect(await place.requests()).toEqual([]);
        at += writeSync(file, piece, 0, piece.length, at);
        expect(statSync(path).size).toBe(whole.length);
        if (at < whole.length) await place.watched();
      }
      closeSync(file);
      expect(digestsOf(await place.only())).toEqual([sha256(whole)]);
      expect(place.names("failed")).toEqual([]);
    },
  );

  test.concurrent(
    "W6: a file that a scanner makes empty and fills later is waited for",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, { atEnd });
      const whole = await samplePdf();
      writeFileSync(place.at("inbox", "scan.pdf"), "");
      await place.watched();
      expect(place.figures()).toMatchObject({ settling: 1, claimed: 0 });
      writeFileSync(place.at("inbox", "scan.pdf"), whole);
      expect(digestsOf(await place.only())).toEqual([sha256(whole)]);
    },
  );

  test.concurrent(
    "W6: a file that is opened and closed five times before it is whole is waited for",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, { atEnd });
      const { whole, pieces } = await inPieces(5);
      for (const [i, piece] of pieces.entries()) {
        const file = openSync(place.at("inbox", "scan.pdf"), "a");
        writeSync(file, piece);
        closeSync(file);
        if (i === pieces.length - 1) break;
        await place.watched();
        expect(await place.requests()).toEqual([]);
      }
      expect(digestsOf(await place.only())).toEqual([sha256(whole)]);
    },
  );

  test.concurrent(
    "W7: what a writer leaves who is killed half-way is never signed, and comes back with the reason",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, { settings: { INBOX_INCOMPLETE_MS: String(6 * SETTLE_MS) }, atEnd });
      const whole = await samplePdf({ pages: 3 });
      const half = Buffer.from(whole.subarray(0, whole.length / 2));
      const path = place.at("inbox", "half.pdf");
      const code = `require("node:fs").writeFileSync(process.argv[1], Buffer.from(process.argv[2], "base64")); setInterval(() => {}, 1000); console.log("half")`;
      const writer = spawn(process.execPath, ["-e", code, path, half.toString("base64")], { stdio: "pipe" });
      const gone = once(writer, "exit");
      await once(writer.stdout, "data");
      writer.kill("SIGKILL");
      await gone;
      await expect.poll(() => place.noteOf("half.pdf"), PATIENCE).toBe("pdf-incomplete");
      expect(place.names("failed")).toEqual(["half.pdf", "half.pdf.error.json", "half.pdf.error.txt"]);
      expect(statSync(place.at("failed", "half.pdf")).size).toBe(half.length);
      expect(await place.requests()).toEqual([]);
    },
  );

  test.concurrent(
    "W8: a file that is there at the start, and still grows, is waited for like any other",
    async ({ expect, onTestFinished: atEnd }) => {
      const { whole, pieces } = await inPieces(3);
      const [first, second, third] = pieces as [Uint8Array, Uint8Array, Uint8Array];
      const place = await startPlace(kind, {
        before: ({ at }) => writeFileSync(at("inbox", "early.pdf"), first),
        atEnd,
      });
      await place.watched();
      appendFileSync(place.at("inbox", "early.pdf"), second);
      await place.watched();
      expect(await place.requests()).toEqual([]);
      appendFileSync(place.at("inbox", "early.pdf"), third);
      expect(digestsOf(await place.only())).toEqual([sha256(whole)]);
    },
  );
});
