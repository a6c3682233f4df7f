import { randomBytes } from "node:crypto";
import type { House } from "./house.ts";
import { jpeg, png } from "./identity.ts";
import { plainPdf } from "./pdfs.ts";

export interface BatchView {
  id: string;
  state: string;
  rows: number;
  counts: Record<string, number>;
  [more: string]: unknown;
}

export interface RowView {
  row: number;
  state: string;
  files: string[];
  reference?: string;
  code?: string;
  reason?: string;
  request_id?: string;
  signed_files?: string[];
  sha256?: string[];
}

export type Table = string | Uint8Array<ArrayBuffer>;

/** Hands a batch in. */
export async function sendBatch(
  house: Pick<House, "api" | "keyRing">,
  {
    table,
    files = [],
    options,
    query = "",
    key,
    secret = house.keyRing.apiKeys[0]?.secret ?? "",
  }: {
    table: Table;
    files?: { name: string; bytes: Uint8Array }[];
    options?: object;
    query?: string;
    key?: string;
    secret?: string;
  },
) {
  const form = new FormData();
  if (options) form.set("options", JSON.stringify(options));
  form.set("batch", new Blob([table]), "batch.csv");
  for (const { name, bytes } of files) form.append("file", new Blob([new Uint8Array(bytes)]), name);
  const answer = await fetch(`${house.api}/v1/batches${query}`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, ...(key !== undefined && { "idempotency-key": key }) },
    body: form,
  });
  const body = (await answer.json()) as Record<string, unknown>;
  return { status: answer.status, body, replayed: answer.headers.get("idempotency-replayed") };
}

/** The id of a batch that has to be accepted. */
export async function acceptedBatch(house: House, given: Parameters<typeof sendBatch>[1]): Promise<string> {
  const { status, body } = await sendBatch(house, given);
  if (status !== 202) throw new Error(`handing in answered ${status}: ${JSON.stringify(body)}`);
  return (body["batch"] as BatchView).id;
}

export async function batchOf(house: House, id: string): Promise<BatchView> {
  return (await house.call("GET", `/v1/batches/${id}`)).body as unknown as BatchView;
}

export async function rowsOf(house: House, id: string, query = "?limit=500"): Promise<RowView[]> {
  return (await house.call("GET", `/v1/batches/${id}/rows${query}`)).body["items"] as RowView[];
}

/** Waits until the batch is as wanted; tells how it is when it gives up. */
export async function untilBatch(
  house: House,
  id: string,
  isThere: (batch: BatchView) => boolean,
  withinMs = 60_000,
): Promise<BatchView> {
  const late = Date.now() + withinMs;
  for (;;) {
    const batch = await batchOf(house, id);
    if (isThere(batch)) return batch;
    if (Date.now() > late) {
      const rows = await rowsOf(house, id);
      const open = rows.filter(({ state }) => state !== "done").slice(0, 5);
      throw new Error(`the batch is ${JSON.stringify(batch)}, with rows like ${JSON.stringify(open)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Settings with which nobody has to do anything: approved by policy, confirmed by an operation of the caller's. */
export const BY_ITSELF = { APPROVAL: "auto" };

const COLUMNS = [
  ...["files", "reference", "email", "mobile_phone_number", "given_name", "surname_1", "serial_number"],
  ...["id_document_type", "id_document_country", "workflow", "document_front", "document_rear"],
  ...["authentication", "authentication_type", "authentication_value"],
];

/** A table of classic requests that need nobody, with its files; each row has a signer and a document of its own. */
export async function classicBatch(count: number, { mark = randomBytes(4).toString("hex") } = {}) {
  const sides = [
    { name: "front.jpg", bytes: jpeg() },
    { name: "rear.png", bytes: png() },
  ];
  const files: { name: string; bytes: Uint8Array }[] = [...sides];
  const rows: string[][] = [];
  for (let n = 1; n <= count; n++) {
    const name = `lease ${n} ${mark}.pdf`;
    files.push({ name, bytes: await plainPdf({ text: `${mark} ${n}` }) });
    rows.push([
      ...[name, `ref-${mark}-${n}`, `canary-${mark}-${n}@example.com`, `+3469${String(1_000_000 + n)}`, `Canaria${n}`],
      ...[`Canarez${n}`, `X${mark}${n}`, "IDC", "ES", "classic", "front.jpg", "rear.png"],
      ...["external", "bank", `canary-op-${mark}-${n}`],
    ]);
  }
  return { columns: COLUMNS, rows, files, mark, table: toTable(COLUMNS, rows) };
}

export function toTable(columns: readonly string[], rows: readonly (readonly string[])[], delimiter = ","): string {
  const cell = (text: string) =>
    /["\r\n]/.test(text) || text.includes(delimiter) ? `"${text.replaceAll('"', '""')}"` : text;
  return [columns, ...rows].map((row) => `${row.map(cell).join(delimiter)}\r\n`).join("");
}
