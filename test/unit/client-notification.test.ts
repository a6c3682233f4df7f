import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { verifyNotification } from "../../src/client/index.ts";

/** @source Standard Webhooks 1.0.0, reference libraries: the example that all of them are tested with */
const EXAMPLE = {
  secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
  id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
  timestamp: "1614265330",
  body: '{"test": 2432232314}',
  signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
};

const BODY = JSON.stringify({
  type: "request.done",
  timestamp: "2026-11-24T08:58:41.942Z",
  data: { id: "req-1", state: "done" },
});
const NOW = 1_700_000_000_000;

function sign(key: Buffer, body = BODY, sentMs = NOW): Record<string, string> {
  const timestamp = String(Math.floor(sentMs / 1000));
  const signature = createHmac("sha256", key).update(`msg_1.${timestamp}.${body}`).digest("base64");
  return { "Webhook-Id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": `v1,${signature}` };
}

const KEY = Buffer.alloc(32, 7);
const OLD_KEY = Buffer.alloc(32, 9);
const toSecret = (key: Buffer) => `whsec_${key.toString("base64")}`;
const secret = toSecret(KEY);

test("the example of Standard Webhooks is found to be signed, and to be no notification of ours", () => {
  const { id, timestamp, signature, body } = EXAMPLE;
  const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature };
  const received = { headers, body, secret: EXAMPLE.secret, now: Number(timestamp) * 1000 };
  expect(() => verifyNotification(received)).toThrow(expect.objectContaining({ code: "notification-invalid" }));
  expect(() => verifyNotification({ ...received, body: `${body} ` })).toThrow(
    expect.objectContaining({ code: "notification-forged" }),
  );
});

test("a notification that is ours tells what it says and its id, whatever form body and headers have", () => {
  const wanted = { webhookId: "msg_1", type: "request.done", data: { id: "req-1", state: "done" } };
  const headers = sign(KEY);
  expect(verifyNotification({ headers, body: BODY, secret, now: NOW })).toMatchObject(wanted);
  const others = {
    headers: new Headers(headers),
    body: Buffer.from(BODY),
    secret: [toSecret(OLD_KEY), secret],
    now: NOW,
  };
  expect(verifyNotification(others)).toMatchObject(wanted);
});

test("while secrets are exchanged, one of several signatures is enough", () => {
  const signature = `v1a,AAAA v1,short ${sign(OLD_KEY)["webhook-signature"]} ${sign(KEY)["webhook-signature"]}`;
  const headers = { ...sign(KEY), "webhook-signature": signature };
  expect(verifyNotification({ headers, body: BODY, secret, now: NOW }).webhookId).toBe("msg_1");
  expect(() => verifyNotification({ headers, body: BODY, secret: toSecret(Buffer.alloc(32, 1)), now: NOW })).toThrow(
    expect.objectContaining({ code: "notification-forged" }),
  );
});

test.each([
  ["another body", { body: BODY.replace("done", "failed") }, "notification-forged"],
  ["another id", { headers: { ...sign(KEY), "Webhook-Id": "msg_2" } }, "notification-forged"],
  ["six minutes later", { now: NOW + 6 * 60_000 }, "notification-too-old"],
  ["six minutes before", { now: NOW - 6 * 60_000 }, "notification-too-old"],
  ["no signature", { headers: { ...sign(KEY), "webhook-signature": undefined } }, "notification-invalid"],
  ["a time that is none", { headers: { ...sign(KEY), "webhook-timestamp": "1e9" } }, "notification-invalid"],
])("with %s it is not believed", (_what, changes, code) => {
  const received = { headers: sign(KEY), body: BODY, secret, now: NOW };
  expect(() => verifyNotification({ ...received, ...changes })).toThrow(expect.objectContaining({ code }));
});

test.each(["", "whsec_", "whsec_AAAA"])(
  "a secret that anybody could guess (%j) is a mistake of the caller's",
  (none) => {
    const headers = sign(Buffer.from(none.slice(6), "base64"));
    expect(() => verifyNotification({ headers, body: BODY, secret: none, now: NOW })).toThrow(TypeError);
  },
);
