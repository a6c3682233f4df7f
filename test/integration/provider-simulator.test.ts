import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { PDFDocument } from "@cantoo/pdf-lib";
import { describe, expect, onTestFinished, test } from "vitest";
import { createProvider } from "../../src/provider/client.ts";
import { type SimulatorOptions, startSimulator } from "../../src/simulator/index.ts";
import { ACCOUNT as WITHOUT_ENV } from "./provider-server.ts";

const ACCOUNT = { ...WITHOUT_ENV, env: "sandbox" as const };
const SIGNER = { email: "ana@example.com", mobile_phone_number: "+34699999999" };

async function start(options: SimulatorOptions) {
  const simulator = await startSimulator(options);
  const provider = createProvider({ url: simulator.url });
  onTestFinished(async () => {
    await provider.close();
    await simulator.close();
  });
  return { simulator, provider };
}

async function pdf(pages: number) {
  const document = await PDFDocument.create();
  for (let page = 0; page < pages; page++) document.addPage();
  const bytes = Buffer.from(await document.save());
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { name: `${pages} pages ñ.pdf`, sizeBytes: bytes.length, sha256, bytes, open: () => Readable.from([bytes]) };
}

const FORMS = (["status", "fastapi", "old"] as const).flatMap((errorStyle) =>
  (["new", "array", "old"] as const).map((uploadShape) => ({
    errorStyle,
    uploadShape,
    retrieval: ({ new: "both", array: "seed", old: "reference" } as const)[uploadShape],
    createStatus: errorStyle === "old" ? (201 as const) : (200 as const),
    notFoundAs400: errorStyle === "old",
  })),
);

describe("the whole workflow, by the client alone", () => {
  test.each(FORMS)("$errorStyle errors, $uploadShape uploads, $retrieval retrieval", async (options) => {
    const { simulator, provider } = await start(options);
    const { requestPk, videoidPk, videoidLink } = await provider.createVideoId(SIGNER, ACCOUNT);
    expect(videoidLink).toMatch(/^http/);
    expect((await provider.getRequest(requestPk)).status).toBe("VIDEOPENDING");
    await expect(provider.approve(videoidPk, ACCOUNT.rao)).rejects.toMatchObject({
      code: "wrong-state",
      effect: "none",
    });
    simulator.identify(requestPk, "complete");
    const request = await provider.getRequest(requestPk);
    expect(request).toMatchObject({ requestPk, status: "VIDEOREVIEW", email: SIGNER.email });
    await provider.approve(videoidPk, ACCOUNT.rao);
    expect((await provider.getRequest(requestPk)).status).toBe("ENROLLREADY");

    const files = [await pdf(1), await pdf(2), await pdf(3)];
    const uids = await provider.upload(requestPk, files);
    expect(new Set(uids).size).toBe(3);
    expect((await buffer((await provider.contract(requestPk)).body)).subarray(0, 5).toString()).toBe("%PDF-");
    await expect(provider.signedDocument(requestPk, uids[0]!)).rejects.toMatchObject({ code: "not-found" });

    await provider.otp(requestPk);
    await expect(provider.otp(requestPk)).rejects.toMatchObject({
      code: "otp-too-soon",
      effect: "none",
      retryAfterMs: 60_000,
    });
    await expect(provider.sign(requestPk, { secret: "wrong0" })).rejects.toMatchObject({ code: "code-rejected" });
    const secret = simulator.codeOf(requestPk) ?? "";
    expect(await provider.sign(requestPk, { secret })).toBe("signed");
    await expect(provider.sign(requestPk, { secret })).rejects.toMatchObject({
      code: "already-issued",
      effect: "none",
    });
    expect((await provider.getRequest(requestPk)).status).toBe("ISSUED");

    for (const [index, uid] of uids.entries()) {
      const { bytes } = files[index]!;
      const signed = await buffer((await provider.signedDocument(requestPk, uid)).body);
      expect(signed.subarray(0, bytes.length).equals(bytes)).toBe(true);
      expect(signed.length).toBeGreaterThan(bytes.length);
    }
    expect(await provider.deleteDocument(requestPk, uids[0]!)).toBe("deleted");
    expect(await provider.deleteDocument(requestPk, uids[0]!)).toBe("absent");
    expect(await provider.deleteDocuments(requestPk)).toBe("deleted");
    expect(await provider.deleteDocuments(requestPk)).toBe("absent");
  });
});

test("refusing, updating and cancelling work, and an unknown request is not found", async () => {
  const { simulator, provider } = await start({});
  const refused = await provider.createVideoId(SIGNER, ACCOUNT);
  simulator.identify(refused.requestPk, "complete");
  await provider.refuse(refused.videoidPk, ACCOUNT.rao, "The picture cannot be read");
  expect((await provider.getRequest(refused.requestPk)).status).toBe("CANCELLED");

  const { requestPk } = await provider.createVideoId(SIGNER, ACCOUNT);
  const { scratchcard = "" } = await provider.getRequest(requestPk);
  await provider.updateRequest(requestPk, {
    scratchcard,
    email: "other@example.com",
    profile: ACCOUNT.profile,
    registration_authority: ACCOUNT.registrationAuthority,
    country_name: "ES",
  });
  expect((await provider.getRequest(requestPk)).email).toBe("other@example.com");
  await provider.cancel(requestPk);
  await expect(provider.getRequest(999_999_999 as typeof requestPk)).rejects.toMatchObject({ code: "not-found" });
  expect(await provider.ping()).toMatchObject({ reachable: true });
});
