import { z } from "zod";
import { isSame } from "./api-keys.ts";
import type { Hints } from "./hints.ts";
import type { Metrics } from "./metrics.ts";
import { readNotification } from "./notification.ts";
import type { Server } from "./ports.ts";
import { ApiError } from "./problem.ts";

/** A notification is a few hundred bytes. */
const BODY_BYTES = 8 * 1024;

/**
 * Adds `POST /webhooks/oneshot/{secret}`. Nothing proves who sends a notification, so it is a hint and no more: its
 * content is not believed, the request it names is read from the provider. A wrong secret is answered like an address
 * that does not exist, before the body is read.
 */
export function addWebhook(
  app: Server,
  { secret, hints, metrics }: { secret: string; hints: Hints; metrics: Pick<Metrics, "notification"> },
): void {
  void app.register((scope, _options, done) => {
    // The content type is not promised, so whatever was sent, or none, is taken for bytes.
    // @source docs/provider.md §Webhooks
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: BODY_BYTES }, (_request, body, parsed) => {
      parsed(null, body);
    });
    (scope as unknown as Server).post(
      "/webhooks/oneshot/:secret",
      {
        exposeHeadRoute: false,
        schema: {
          operationId: "receiveNotification",
          summary: "Take a notification from the provider",
          description:
            "The address to register with the provider; its last segment is the secret. Both published forms of the " +
            "notification are read. The answer comes at once; the request is looked at afterwards.",
          tags: ["Provider"],
          security: [],
          params: z.object({ secret: z.string() }),
          response: { 200: z.object({ received: z.literal(true) }).meta({ id: "Received" }) },
          "x-answers": { 200: { description: "Taken as a hint." } },
          "x-body-example": {
            event_type: "VIDEOID_UPDATED",
            sent_at: "20260115083633",
            request: { status: "VIDEOREVIEW", pk: 1012632 },
            certificates: [],
          },
          "x-problems": ["webhook-unreadable", "not-found", "too-large", "too-busy"],
        },
        onRequest: async (request, reply) => {
          const { secret: given } = request.params;
          if (isSame(given, secret)) {
            request.raw.headers["content-type"] = "application/octet-stream";
            return;
          }
          metrics.notification("wrong-secret");
          reply.callNotFound();
          await reply;
        },
      },
      async (request) => {
        const requestPk = request.body instanceof Uint8Array ? readNotification(request.body) : undefined;
        if (requestPk === undefined) {
          metrics.notification("unreadable");
          throw new ApiError(
            "webhook-unreadable",
            'Send JSON with the number of the request in "request" or "request.pk".',
          );
        }
        if (!hints.add(requestPk)) {
          metrics.notification("dropped");
          throw new ApiError("too-busy", "Too many notifications at once; this one was not taken.");
        }
        metrics.notification("accepted");
        return { received: true as const };
      },
    );
    done();
  });
}
