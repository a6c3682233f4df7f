import { expect, test } from "vitest";
import { memberId, memberIds, REQUEST_DOCUMENTS, splitDocuments } from "../../src/core/group.ts";
import { RequestId } from "../../src/core/request.ts";

const FIRST = "req-01jd8x3v5q7r9t2w4y6z8a0c1e";
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

test("documents are split into as few requests as can take them, in order, none with more than one document more than another", () => {
  for (const count of upTo(205)) {
    const requests = splitDocuments(upTo(count));
    const sizes = requests.map(({ length }) => length);
    expect(requests.flat()).toEqual(upTo(count));
    expect(requests).toHaveLength(Math.ceil(count / REQUEST_DOCUMENTS));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(REQUEST_DOCUMENTS);
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
  }
  expect(splitDocuments(upTo(23)).map(({ length }) => length)).toEqual([8, 8, 7]);
});

test("the ids of a group follow from its own, which is that of its first request, and are all different", () => {
  const ids = memberIds({ id: FIRST, of: 100 });
  expect(ids[0]).toBe(FIRST);
  expect(ids.every((id) => RequestId.safeParse(id).success)).toBe(true);
  expect(new Set(ids).size).toBe(100);
  expect(ids[6]).toBe(memberId(FIRST, 7));
  expect(memberId("req-01jd8x3v5q7r9t2w4y6z8a0c1f", 7)).not.toBe(ids[6]);
});
