import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { toFailure } from "../../src/core/errors.ts";
import { createLog } from "../../src/log.ts";

function logged(fields: object): string {
  const lines: string[] = [];
  const sink = { write: (line: string) => lines.push(line) > 0 } as unknown as NodeJS.WritableStream;
  createLog("trace", sink).error(fields, "it happened");
  return lines.join("");
}

test("of an error its kind, code, words and stack are logged, and not what it carries", () => {
  const error = Object.assign(new Error("WRONGPASS invalid username-password pair"), {
    command: { name: "auth", args: ["canary-password"] },
    request: { headers: { cookie: "canary-cookie" } },
    code: "WRONGPASS",
  });
  const line = logged({ err: error });
  expect(JSON.parse(line)).toMatchObject({ err: { type: "Error", code: "WRONGPASS", message: error.message } });
  expect(line).toContain("log.test.ts");
  expect(line).not.toContain("canary");
  expect(logged({ err: "canary" })).not.toContain("canary");
});

test("an error of the file system is logged, and becomes a failure, without the path", async () => {
  const error = await readFile("/nowhere/Contrato de Ana Canaria.pdf").catch((thrown: unknown) => thrown);
  expect((error as Error).message).toContain("Canaria");
  const line = logged({ err: error });
  expect(line).toContain("ENOENT: no such file or directory, open '…'");
  expect(line).not.toContain("Canaria");
  expect(toFailure(error)).toMatchObject({
    code: "unexpected",
    message: "ENOENT: no such file or directory, open '…'",
  });
});

test.each(["secret", "token", "password", "pin", "email", "mobile_phone_number", "signer", "facts", "headers"])(
  "%s is cut out wherever it stands",
  (name) => {
    const value = { [name]: "canary" };
    expect(logged({ ...value, inside: value, deeper: { inside: value } })).not.toContain("canary");
  },
);
