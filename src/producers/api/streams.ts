import type { FastifyReply } from "fastify";
import { Readable } from "node:stream";
import { ApiError } from "./problem.ts";

/** A line that says nothing, so that nobody on the way takes the connection for dead. */
const BEAT_MS = 15_000;
/** What a reader may be behind. It is cut off then, and takes up again where it was. */
const BEHIND_BYTES = 1024 * 1024;
/** When a client that lost its connection comes again, in milliseconds. */
const RETRY_MS = 2_000;

/** One message. Its data are JSON, so they are one line. @source WHATWG HTML §9.2.5 */
export interface Message {
  id?: string;
  event: string;
  data: object;
}

export interface EventStream {
  /** False when the reader was too slow, or is gone: then nothing more is sent. */
  send(message: Message): boolean;
  /** Resolves once the reader has taken most of what was sent, or is gone. */
  drained(): Promise<void>;
  /** Ends it in order. */
  end(): void;
  /** Called once when it is over, whoever ended it. */
  onOver(done: () => void): void;
}

export type Streams = ReturnType<typeof createStreams>;

/**
 * Streams of events to those who follow requests live. A key has `most` of them in this process at once; a reader who does
 * not keep up is cut off, so that what is kept for it is bounded. `close` ends all of them.
 */
export function createStreams({ most, beatMs = BEAT_MS }: { most: number; beatMs?: number }) {
  const open = new Map<EventStream, string>();

  /** Throws ApiError "too-many-streams". */
  function mustHaveRoom(keyName: string): void {
    const theirs = [...open.values()].filter((name) => name === keyName).length;
    if (theirs < most) return;
    throw new ApiError("too-many-streams", `This key follows ${most} streams already; end one, or wait.`);
  }

  return {
    mustHaveRoom,

    /** Begins a stream, and calls `beat` with each sign of life. Throws ApiError "too-many-streams". */
    begin(keyName: string, beat: () => void = () => {}): { stream: EventStream; body: Readable } {
      mustHaveRoom(keyName);
      let hungry = () => {};
      const body = new Readable({
        read() {
          hungry();
        },
      });
      body.on("error", () => {}); // a reader that was cut off
      const push = (text: string): boolean => {
        if (body.destroyed || body.readableEnded) return false;
        body.push(text);
        if (body.readableLength <= BEHIND_BYTES) return true;
        body.destroy(new Error("the reader does not keep up"));
        return false;
      };
      const timer = setInterval(() => {
        if (push(":\n\n")) beat();
      }, beatMs);
      let isEnded = false;
      const stream: EventStream = {
        send: ({ id, event, data }) =>
          !isEnded &&
          push(`${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`),
        drained: () =>
          new Promise((resolve) => {
            if (body.destroyed || body.readableLength < body.readableHighWaterMark) resolve();
            else hungry = resolve;
          }),
        end() {
          if (isEnded || body.destroyed) return;
          isEnded = true;
          clearInterval(timer);
          body.push(null);
        },
        onOver: (done) => void body.once("close", done),
      };
      open.set(stream, keyName);
      stream.onOver(() => {
        clearInterval(timer);
        open.delete(stream);
        hungry();
      });
      push(`retry: ${RETRY_MS}\n\n`);
      return { stream, body };
    },

    /** How many there are. */
    count: () => open.size,

    close(): void {
      for (const stream of open.keys()) stream.end();
    },
  };
}

/** Answers with a stream. */
export async function sendStream(reply: FastifyReply, body: Readable): Promise<FastifyReply> {
  return await reply
    .type("text/event-stream; charset=utf-8")
    // nginx would keep it back.
    .header("x-accel-buffering", "no")
    .send(body);
}
