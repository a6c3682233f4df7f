import fc from "fast-check";
import { expect, test } from "vitest";
import { readNotification } from "../../src/producers/api/notification.ts";

const read = (value: unknown) => readNotification(Buffer.from(JSON.stringify(value)));

test("the number of a request is read from both published forms", () => {
  expect(
    read({ event_type: "VIDEOID_UPDATED", request: { status: "VIDEOREVIEW", pk: 1012632 }, certificates: [] }),
  ).toBe(1012632);
  expect(read({ status: "VIDEOINCOMPLETE", previous_status: "VIDEOPENDING", request: 46760 })).toBe(46760);
  expect(read({ request: { pk: "46760" } })).toBe(46760);
  expect(read({ request: "46760" })).toBe(46760);
});

test.each([
  ["nothing", ""],
  ["no JSON", "request=46760"],
  ["null", "null"],
  ["an array", "[46760]"],
  ["an array as request", '{"request":[46760]}'],
  ["no number", '{"request":{}}'],
  ["a negative number", '{"request":-1}'],
  ["zero", '{"request":0}'],
  ["a fraction", '{"request":1.5}'],
  ["a number that is infinite", '{"request":1e400}'],
  ["a number that is not exact", '{"request":9007199254740993}'],
  ["NaN, which JSON does not have", '{"request":NaN}'],
  ["a number behind the prototype", '{"__proto__":{"request":1},"x":{"__proto__":{"pk":1}}}'],
  ["a prototype as request", '{"request":{"__proto__":{"pk":1}}}'],
  ["an object as number", '{"request":{"pk":{"toString":1}}}'],
  ["digits that are no number", '{"request":"1e3"}'],
])("a notification with %s names no request", (_what, body) => {
  expect(readNotification(Buffer.from(body))).toBeUndefined();
});

test("text that is not UTF-8 names no request", () => {
  expect(readNotification(Buffer.from('{"request":46760}', "utf16le"))).toBeUndefined();
  expect(readNotification(Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]))).toBeUndefined();
});

test("any bytes give a positive whole number or nothing, and never an exception", () => {
  const isPk = (pk: number | undefined) => pk === undefined || (Number.isSafeInteger(pk) && pk > 0);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => isPk(readNotification(bytes))));
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom("request", "pk", "__proto__", "constructor"), (value, name) =>
      isPk(readNotification(Buffer.from(JSON.stringify({ request: value, [name]: { pk: value } })))),
    ),
  );
});
