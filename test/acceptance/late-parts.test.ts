import { mkdirSync, writeFileSync } from "node:fs";
import { describe, test } from "vitest";
import { BY_ITSELF, classicBatch } from "../helpers/batches.ts";
import { samplePdf, SIGNER } from "../helpers/house.ts";
import { until } from "../helpers/signpipe-process.ts";
import { KINDS, namesOf, PATIENCE, SETTLE_MS, startPlace } from "./place.ts";

const BEA = { ...SIGNER, email: "bea.canary@example.com" };
const sidecarOf = (signer: object) => JSON.stringify({ reference: "by-its-sidecar", signer });

describe.each(KINDS)("%s", (kind) => {
  test.concurrent(
    "W29: a PDF waits for the sidecar that comes after it, and only then becomes a request",
    async ({ expect, onTestFinished: atEnd }) => {
      // The window is six settle times, and the sidecar comes in the third.
      const settings = { INBOX_SETTLE_MS: "1000" };
      const place = await startPlace(kind, { standing: false, settings, entry: { sidecar_wait: "6s" }, atEnd });
      place.drop("x.pdf", await samplePdf());
      await until("that it waits for its sidecar", () => place.figures().waiting === 1 || undefined);
      await place.watched(1_350 / SETTLE_MS);
      expect(await place.requests()).toEqual([]);
      place.drop("x.pdf.json", sidecarOf(BEA));
      expect((await place.only()).reference).toBe("by-its-sidecar");
      expect(place.names("inbox")).toEqual([]);
      expect(place.names("failed")).toEqual([]);
    },
  );

  test.concurrent("W29: a sidecar waits for its PDF as long as it takes", async ({ expect, onTestFinished: atEnd }) => {
    const place = await startPlace(kind, { standing: false, atEnd });
    place.drop("x.pdf.json", sidecarOf(BEA));
    await place.watched(8);
    expect(place.names("inbox")).toEqual(["x.pdf.json"]);
    place.drop("x.pdf", await samplePdf());
    expect((await place.only()).reference).toBe("by-its-sidecar");
  });

  test.concurrent(
    "W29: a PDF whose sidecar never comes, or cannot be used, comes back with what is missing",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, {
        standing: false,
        entry: { sidecar_wait: `${6 * SETTLE_MS}ms` },
        atEnd,
      });
      place.drop("lonely.pdf", await samplePdf());
      place.drop("wrong.pdf", await samplePdf());
      place.drop("wrong.pdf.json", JSON.stringify({ signer: { email: "canary-no-address" } }));
      await expect.poll(() => place.noteOf("lonely.pdf"), PATIENCE).toBe("request-missing");
      await expect.poll(() => place.noteOf("wrong.pdf"), PATIENCE).toBe("invalid-manifest");
      expect(place.names("failed")).toContain("wrong.pdf.json");
      const { message } = place.status("wrong.pdf")["failure"] as { message: string };
      expect(message).toContain("signer.email");
      expect(message).not.toContain("canary-no-address");
      expect(await place.requests()).toEqual([]);
    },
  );

  test.concurrent(
    "W27: a file that comes late into a folder is part of it: the folder is not taken without it",
    async ({ expect, onTestFinished: atEnd }) => {
      const settings = { INBOX_FOLDER_SETTLE_MS: "2000" };
      const place = await startPlace(kind, { settings, atEnd });
      mkdirSync(place.at("inbox", "loan"));
      writeFileSync(place.at("inbox", "loan", "1.pdf"), await samplePdf());
      writeFileSync(place.at("inbox", "loan", "request.json"), JSON.stringify({ signer: SIGNER }));
      for (const late of ["2.pdf", "3.pdf"]) {
        await place.watched(3);
        expect(await place.requests()).toEqual([]);
        writeFileSync(place.at("inbox", "loan", late), await samplePdf());
      }
      expect(namesOf(await place.only())).toEqual(["1.pdf", "2.pdf", "3.pdf"]);
    },
  );
});

test.concurrent.for(KINDS)(
  "W27: in %s, a file that comes late into a folder with a table is part of it, and its row is no mistake",
  async (kind, { expect, onTestFinished: atEnd }) => {
    const place = await startPlace(kind, { settings: { ...BY_ITSELF, INBOX_FOLDER_SETTLE_MS: "2000" }, atEnd });
    const { table, files } = await classicBatch(2);
    const late = files.at(-1);
    mkdirSync(place.at("inbox", "leases"));
    const put = (name: string, bytes: Uint8Array | string) => writeFileSync(place.at("inbox", "leases", name), bytes);
    put("batch.csv", table);
    for (const { name, bytes } of files) if (name !== late?.name) put(name, bytes);
    await place.watched(3);
    expect(place.names("inbox")).toEqual(["leases"]);
    put(late?.name ?? "", late?.bytes ?? "");
    const requests = await place.count(2);
    expect(requests.flatMap(namesOf)).toContain(late?.name);
    expect(place.names("inbox")).toEqual([]);
    expect(place.names("failed")).toEqual([]);
  },
);
