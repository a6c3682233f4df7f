import { setTimeout as pause } from "node:timers/promises";
import type { Wish } from "./hand-in.ts";

/** A signer who was sent no code waits this long before asking for another. */
const PATIENCE_MS = 10_000;

interface View {
  id: string;
  reference?: string;
  waiting?: { for: string; since: string };
}

/**
 * Signers with their codes, the registration officer, and whoever cancels: they look at the API every moment, and do
 * their part again when nothing came of it.
 */
export function startPeople({
  wishes,
  api,
  codesOf,
}: {
  wishes: readonly Wish[];
  api: { url: string; key: string };
  /** Codes that were sent to a phone, oldest first. */
  codesOf: (phone: string) => string[];
}) {
  const byReference = new Map(wishes.map((wish) => [wish.name, wish]));
  const wrong = new Map<string, number>();
  const acted = new Map<string, number>();
  const ordered = new Set<string>();
  const counts = { approved: 0, refused: 0, codes: 0, wrongCodes: 0, resends: 0, cancelled: 0, orders: 0 };
  let isOver = false;

  async function call(method: string, path: string, body?: object): Promise<{ status: number; body: unknown }> {
    const answer = await fetch(`${api.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${api.key}`, ...(body && { "content-type": "application/json" }) },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? {} : JSON.parse(text) };
  }

  async function* waiting(): AsyncGenerator<View> {
    let cursor: string | undefined;
    do {
      const query = `state=waiting&limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
      const { status, body } = await call("GET", `/v1/requests?${query}`);
      if (status !== 200) return;
      const page = body as { items: View[]; next_cursor: string | null };
      yield* page.items;
      cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined);
  }

  async function act(view: View): Promise<void> {
    const { id, reference = "", waiting: wait } = view;
    const wish = byReference.get(reference);
    if (!wish || !wait) return;
    const what = `${id} ${wait.for} ${wait.since}`;
    if (Date.now() - (acted.get(what) ?? 0) < 3_000) return;
    acted.set(what, Date.now());
    const at = (path: string, body?: object) => call("POST", `/v1/requests/${id}/${path}`, body);
    if (wish.cancelAt === wait.for) {
      const { status } = await at("cancel");
      if (status < 300) counts.cancelled += 1;
    } else if (wait.for === "approval" && wish.order && !ordered.has(id)) {
      const body = wish.order === "correct" ? { email: `corrected.${wish.email}` } : undefined;
      const { status } = await at(wish.order, body);
      if (status >= 300) return;
      counts.orders += 1;
      ordered.add(id);
    } else if (wait.for === "approval") {
      const isRefused = wish.decision === "refuse";
      const { status } = await (isRefused ? at("refuse", { reason: "Face not visible" }) : at("approve"));
      if (status < 300) counts[isRefused ? "refused" : "approved"] += 1;
    } else if (wait.for === "code" || wait.for === "another code") {
      // No message came: whether one was sent is not known to anybody, so its receiver asks for another.
      const isMissed = codesOf(wish.phone).length === 0 && Date.now() - Date.parse(wait.since) > PATIENCE_MS;
      if (!isMissed) await giveCode(wish, at);
      else if ((await at("code/resend")).status < 300) counts.resends += 1;
    } else if (wait.for === "a new OTP") {
      const { status } = await at("code/resend");
      if (status < 300) counts.resends += 1;
    }
  }

  async function giveCode(wish: Wish, at: (path: string, body: object) => Promise<{ status: number }>): Promise<void> {
    const right = codesOf(wish.phone).at(-1);
    if (right === undefined) return;
    const given = wrong.get(wish.name) ?? 0;
    const isWrong = given < wish.wrongCodes;
    const secret = isWrong ? String((Number(right) + 1) % 1_000_000).padStart(6, "0") : right;
    const { status } = await at("code", { secret });
    if (status >= 300) return;
    counts[isWrong ? "wrongCodes" : "codes"] += 1;
    if (isWrong) wrong.set(wish.name, given + 1);
  }

  async function live(): Promise<void> {
    while (!isOver) {
      try {
        const all: Promise<void>[] = [];
        for await (const view of waiting()) {
          all.push(act(view).catch(() => {}));
          if (all.length >= 20) await Promise.all(all.splice(0));
        }
        await Promise.all(all);
      } catch {
        // The API is away for a moment: people try again.
      }
      await pause(300);
    }
  }

  const living = live();
  return {
    counts,
    async stop(): Promise<void> {
      isOver = true;
      await living;
    },
  };
}
