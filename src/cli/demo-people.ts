import { request } from "undici";
import { z } from "zod";
import { type Client, Refused, type Request } from "./client.ts";

const Messages = z.array(z.looseObject({ request_pk: z.number(), code: z.string() }));

/** The people a request waits for. */
export interface People {
  /** Does what the request waits for, when that is theirs. What they did, in words; undefined when it is not their turn. */
  act(waiting: Request): Promise<string | undefined>;
}

/**
 * Plays the registration officer and the signer with the telephone, as people would do it: through the API. The code
 * is read where the simulator shows the text messages that it did not send.
 */
export function createPeople({ client, simulator }: { client: Client; simulator: string }): People {
  /** What was done already: a request may be read once more before it has moved. */
  const done = new Set<string>();

  async function codeFor(requestPk: number): Promise<string | undefined> {
    const { body } = await request(`${simulator}/_sim/outbox?request_pk=${requestPk}`, { headersTimeout: 5_000 });
    return Messages.parse(await body.json()).at(-1)?.code;
  }

  async function once(key: string, act: () => Promise<unknown>): Promise<void> {
    if (done.has(key)) return;
    done.add(key);
    await act().catch((error: unknown) => {
      // It moved on between reading and acting, which is what was wanted.
      if (!(error instanceof Refused && error.status === 409)) throw error;
    });
  }

  return {
    async act({ id, waiting, request_pk }) {
      switch (waiting?.for) {
        case "approval":
          await once(`approve ${id}`, () => client.act(id, "approve"));
          return "approved by the demo, as registration officer";
        case "code":
        case "another code": {
          const secret = request_pk === undefined ? undefined : await codeFor(request_pk);
          if (secret === undefined) return undefined;
          await once(`code ${id} ${secret}`, () => client.act(id, "code", { secret }));
          return "the signer gave the code from the text message";
        }
        default:
          return undefined;
      }
    },
  };
}
