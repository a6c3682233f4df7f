import { request as httpRequest, type IncomingMessage } from "node:http";
import { onTestFinished } from "vitest";
import { until } from "./api-house.ts";

/** A message of a stream of events, as a browser would hand it out. */
export interface Heard {
  id?: string;
  event: string;
  data: Record<string, unknown>;
}

function toHeard(block: string): Heard | undefined {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
  const [event, data, id] = [field("event"), field("data"), field("id")];
  if (event === undefined || data === undefined) return undefined;
  return { ...(id !== undefined && { id }), event, data: JSON.parse(data) as Heard["data"] };
}

/** Opens a stream of events. It is closed with the test. */
export async function openEvents(url: string, headers: Record<string, string>) {
  let text = "";
  let isOver = false;
  const call = httpRequest(url, { headers });
  onTestFinished(() => void call.destroy());
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    call.on("response", resolve).on("error", reject).end();
  });
  call.on("error", () => {});
  response
    .on("data", (chunk: Buffer) => (text += chunk.toString()))
    .on("error", () => {})
    .on("close", () => (isOver = true));
  const heard = () =>
    text
      .split("\n\n")
      .slice(0, -1)
      .flatMap((block) => toHeard(block) ?? []);
  return {
    response,
    status: response.statusCode,
    /** All that came, as text. */
    text: () => text,
    heard,
    /** Waits until so many messages came. */
    async hears(count: number): Promise<Heard[]> {
      return await until(heard, ({ length }) => length >= count, 8_000);
    },
    async ends(): Promise<Heard[]> {
      await until(
        () => isOver,
        (over) => over,
        8_000,
      );
      return heard();
    },
    close: () => void call.destroy(),
  };
}
