import { readdirSync } from "node:fs";
import { describe, test } from "vitest";
import type { SignRequest } from "../../src/core/request.ts";
import { samplePdf, SIGNER, startHouse } from "../helpers/house.ts";
import {
  countRequests,
  digestsOf,
  KINDS,
  makeGround,
  PATIENCE,
  requestsOf,
  serve,
  sha256,
  startInboxProcess,
} from "./place.ts";

const PRELOAD = new URL("./crash-at.ts", import.meta.url).href;

/** The steps of W12, in their order, and whether a record is there after each. */
const STEPS = [
  ["listed", 0],
  ["renamed", 0],
  ["sidecar renamed", 0],
  ["claim written", 0],
  ["hashed", 0],
  ["recorded", 1],
  ["queued", 1],
  ["acknowledged", 1],
] as const;

describe.each(KINDS)("%s", (kind) => {
  test.concurrent.for(STEPS)(
    "W12, W13: a process that is killed right after a file was %s loses nothing, and the next does nothing twice",
    async ([step, records], { expect, onTestFinished: atEnd }) => {
      const ground = makeGround(kind, { standing: false, atEnd });
      const settings = { ...ground.settings, RECONCILE_MS: "200" };
      const house = await startHouse({ settings, dataDir: ground.dataDir, work: false, atEnd });
      const bytes = await samplePdf();
      ground.drop("x.pdf.json", JSON.stringify({ signer: SIGNER }));
      ground.drop("x.pdf", bytes);
      const crash = { NODE_OPTIONS: `--import=${PRELOAD}`, CRASH_AT: step, CRASH_SHA256: sha256(bytes) };
      const victim = await startInboxProcess(house, crash);
      expect(await victim.ended).toBe("SIGKILL");
      expect(await requestsOf(house)).toHaveLength(records);
      expect(ground.names("failed")).toEqual([]);
      if (step === "listed") expect(ground.names("inbox")).toEqual(["x.pdf", "x.pdf.json"]);
      else expect(ground.names("inbox")).not.toContain("x.pdf");

      await serve(house, ground);
      const [request] = (await countRequests(house, 1)) as [SignRequest];
      const { id } = request;
      expect(digestsOf(request)).toEqual([sha256(bytes)]);
      await expect.poll(() => ground.status("x.pdf"), PATIENCE).toMatchObject({ request_id: id });
      house.app.startWorkers(["create"]);
      // A record without a job is found by the reconciler a minute later: here it has passed.
      if (step === "recorded") await house.app.redis.zadd(house.app.keys.due, "XX", 1, id);
      await house.reaches(id, "identify", "queued");
      expect(await requestsOf(house)).toHaveLength(1);
      expect(house.effects("create")).toBe(1);
      expect([...ground.names("inbox"), ...ground.names("failed"), ...ground.names("duplicates")]).toEqual([]);
      expect(readdirSync(ground.at(".work")).filter((name) => name.startsWith("req-"))).toEqual([id]);
      expect(readdirSync(ground.at(".work", "gate"))).toEqual([]);
    },
  );
});
