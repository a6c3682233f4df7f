/** The whole program with a provider of somebody else's making, for tests. */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AtEnd, type House, samplePdf, startHouse } from "../helpers/house.ts";
import { createWitness } from "./ledger.ts";
import { type Readings } from "./readings.ts";
import { type Provider, startProvider } from "./server.ts";
import { type Authority } from "./signing.ts";

export const RAO = { rao: "1400", token: "canary-token-0123456789" };
export const BILLING = { username: "canary-billing", password: "canary-billing-pässword" };

/** What people do with a request, by the signer's address. */
export interface Plan {
  signer: string;
  documents: Buffer[];
  through: "inbox" | "folder" | "api";
  wrongCodes?: number;
  refused?: true;
  fails?: true;
  ends: "done" | "refused" | "failed";
}

export interface Seen {
  id: string;
  state: string;
  stage: string;
  request_pk?: number;
  videoid_link?: string;
  waiting?: { for: string };
  failure?: { code: string; message: string };
}

export const pdf = async (more: Parameters<typeof samplePdf>[0] = {}): Promise<Buffer> =>
  Buffer.from(await samplePdf(more));
const signerOf = (plan: Plan) => ({ email: plan.signer, mobile_phone_number: "+34699000111" });

/** Hands a request in, in the way that its plan says. */
export async function handIn(house: House, plan: Plan): Promise<void> {
  const inbox = join(house.dataDir, "inbox");
  const [name] = plan.signer.split("@");
  const appearance = { position: "30, 30, 230, 80", page: 0, text: ["%(CN)s", "%(DATE)s"] };
  const manifest = { signer: signerOf(plan), ...(plan.refused && { approval: "manual" }) };
  if (plan.through === "api") {
    await house.submit(
      manifest,
      plan.documents.map((bytes, nth) => ({ name: `${name}-${nth}.pdf`, bytes })),
    );
    return;
  }
  const put = async (path: string, content: Buffer | object): Promise<void> => {
    await writeFile(`${path}.part`, Buffer.isBuffer(content) ? content : JSON.stringify(content));
    await rename(`${path}.part`, path);
  };
  if (plan.through === "inbox") {
    await put(join(inbox, `${name}.pdf.json`), manifest);
    await put(join(inbox, `${name}.pdf`), plan.documents[0] ?? Buffer.alloc(0));
    return;
  }
  const folder = join(inbox, `${name}`);
  await mkdir(folder);
  for (const [nth, bytes] of plan.documents.entries()) await put(join(folder, `${nth} part.pdf`), bytes);
  await put(join(folder, "request.json"), { ...manifest, signature: { appearance } });
  await put(join(folder, "_READY"), Buffer.alloc(0));
}

interface Setup {
  house: House;
  provider: Provider;
  witness: ReturnType<typeof createWitness>;
}

/** The program, with a provider that reads the contract in this way. */
export async function setUp(
  authority: Authority,
  readings: Partial<Readings>,
  { settings = {}, atEnd }: { settings?: Record<string, string>; atEnd: AtEnd },
): Promise<Setup> {
  let dataDir = "";
  const witness = createWitness(() => join(dataDir, "signed"));
  const provider = await startProvider({ authority, readings, rao: RAO, billing: BILLING, onEffect: witness.onEffect });
  const house = await startHouse({
    atEnd,
    oneshotUrl: () => provider.url,
    settings: {
      ONESHOT_ENV: "sandbox",
      ONESHOT_BILLING_USERNAME: BILLING.username,
      ONESHOT_BILLING_PASSWORD: BILLING.password,
      ONESHOT_RAO_TOKEN: RAO.token,
      APPROVAL: readings.operatorApproves ? "manual" : "auto",
      ...settings,
    },
  });
  dataDir = house.dataDir;
  atEnd(() => provider.close());
  provider.notify(`${house.api}/webhooks/oneshot/${house.keyRing.webhookSecret}`);
  await house.app.startInbox();
  return { house, provider, witness };
}
