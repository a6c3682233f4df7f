import { renameSync } from "node:fs";
import { describe, test } from "vitest";
import { type AtEnd, readJson, samplePdf, SIGNER } from "../helpers/house.ts";
import { digestsOf, type Kind, KINDS, PATIENCE, type Place, sha256, startPlace } from "./place.ts";

/** Signed without anybody's doing, as soon as the signer has identified. */
const BY_ITSELF = {
  settings: { APPROVAL: "auto" },
  standing: { signer: SIGNER, authentication: { method: "external", type: "bank", value: "1" } },
  work: true,
};

async function identify({ house }: Place, id: string, how: "complete" | "fail"): Promise<void> {
  await house.waits(id, "identification");
  house.simulator.identify((await house.app.store.get(id)).facts["requestPk"] as number, how);
}

/** A request for `first.pdf`, over or not. */
async function startWith(kind: Kind, how: "complete" | "fail" | "open", atEnd: AtEnd) {
  const place = await startPlace(kind, { ...BY_ITSELF, atEnd });
  const bytes = await samplePdf();
  place.drop("first.pdf", bytes);
  const id = await place.taken("first.pdf");
  if (how === "open") await place.house.waits(id, "identification");
  else {
    await identify(place, id, how);
    await place.house.reaches(id, "cleanup", how === "complete" ? "done" : "failed");
  }
  return { place, bytes, id };
}

describe.each(KINDS)("%s", (kind) => {
  test.concurrent.for([
    ["open", "waiting"],
    ["complete", "done"],
  ] as const)(
    "W17, W18: a duplicate of one that is %s is set aside, named, and stays so",
    async ([how, state], { expect, onTestFinished: atEnd }) => {
      const { place, bytes, id } = await startWith(kind, how, atEnd);
      place.drop("second.pdf", bytes);
      await expect.poll(() => place.status("second.pdf")["state"], PATIENCE).toBe("duplicate");
      expect(place.status("second.pdf")).toMatchObject({ duplicate_of: { request_id: id, state } });
      expect(place.names("duplicates")).toEqual([
        "second.pdf",
        "second.pdf.duplicate.json",
        "second.pdf.duplicate.txt",
      ]);
      expect(readJson(place.at("duplicates", "second.pdf.duplicate.json"))).toMatchObject({
        code: "duplicate",
        duplicate_of: { request_id: id, state },
      });
      expect(place.names("inbox")).toEqual([]);
      await place.watched();
      expect(await place.requests()).toHaveLength(1);
      expect(place.house.effects("create")).toBe(1);
    },
  );

  test.concurrent(
    "W19, W22: what failed is no duplicate: put back it is a new attempt, which names the old one",
    async ({ expect, onTestFinished: atEnd }) => {
      const { place, id } = await startWith(kind, "fail", atEnd);
      await expect.poll(() => place.noteOf("first.pdf"), PATIENCE).toBe("videoid-error");
      renameSync(place.at("failed", "first.pdf"), place.at("inbox", "first.pdf"));
      await expect.poll(async () => (await place.requests()).length, PATIENCE).toBe(2);
      const again = (await place.requests()).find((request) => request.id !== id);
      expect(again?.facts["retryOf"]).toBe(id);
      await identify(place, again?.id ?? "", "complete");
      await place.house.reaches(again?.id ?? "", "cleanup", "done");
      await expect.poll(() => place.names("failed"), PATIENCE).toEqual([]);
      expect(place.names("duplicates")).toEqual([]);
    },
  );

  test.concurrent(
    "W14, W17: the same name with other content is another request, while the first one is open",
    async ({ expect, onTestFinished: atEnd }) => {
      const place = await startPlace(kind, { atEnd });
      const both = [await samplePdf(), await samplePdf()] as const;
      place.drop("lease.pdf", both[0]);
      await place.only();
      place.drop("lease.pdf", both[1]);
      const requests = await place.count(2);
      expect(requests.flatMap(digestsOf).sort()).toEqual(both.map(sha256).sort());
      const first = requests.find((request) => digestsOf(request)[0] === sha256(both[0]))?.id;
      await expect
        .poll(() => place.names("status"), PATIENCE)
        .toEqual([`lease.pdf.${first}.status.json`, "lease.pdf.status.json"]);
      expect(place.status(`lease.pdf.${first}`)["request_id"]).toBe(first);
      expect(place.names("duplicates")).toEqual([]);
    },
  );
});
