import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { samplePdf, startHouse } from "../helpers/house.ts";

test("the original of a request from the API is in the archive once it is signed, under its own name", async () => {
  const house = await startHouse({ settings: { APPROVAL: "auto" }, simulator: { humans: { signer: "auto" } } });
  const bytes = await samplePdf();
  const id = await house.submit({}, [{ name: "lease.pdf", bytes }]);
  await house.waits(id, "code");
  expect(existsSync(join(house.dataDir, ".work", id, "1.pdf"))).toBe(true);
  await house.call("POST", `/v1/requests/${id}/code`, { secret: await house.codeFor(id) });
  await house.reaches(id, "cleanup", "done");
  // As another process that keeps house does it when it starts, and every half minute.
  house.app.startKeeping();
  const archived = join(house.dataDir, "archive", id, "lease.pdf");
  await expect.poll(() => existsSync(archived), { timeout: 10_000 }).toBe(true);
  await expect.poll(() => existsSync(join(house.dataDir, ".work", id)), { timeout: 10_000 }).toBe(false);
  expect(readFileSync(archived).equals(bytes)).toBe(true);
});
