import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { createAsk } from "../../src/cli/read-secret.ts";
import type { Terminal } from "../../src/cli/terminal.ts";

/** A terminal at which somebody types; what was written there is in `shown`. */
function atTerminal() {
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => stdin });
  const stream = new PassThrough({ encoding: "utf8" });
  let shown = "";
  stream.on("data", (text: string) => (shown += text));
  const terminal = { stdin, err: { stream } } as unknown as Terminal;
  return { ask: createAsk(terminal), type: (keys: string) => stdin.write(keys), shown: () => shown };
}

test("a secret is asked for without echo, and what is none with it", async () => {
  const { ask, type, shown } = atTerminal();
  const name = ask("User name: ", { isHidden: false });
  type("90018x\u007f00\r");
  expect(await name).toBe("9001800");
  const password = ask("Password: ");
  type(" canary\u007f\u007fry \n");
  expect(await password).toBe(" canary ");
  expect(shown()).toBe("User name: 90018x\b \b00\nPassword: \n");
});

test("Ctrl-C leaves the question", async () => {
  const { ask, type } = atTerminal();
  const pin = ask("PIN: ");
  type("12\u0003");
  await expect(pin).rejects.toMatchObject({ exitCode: 130 });
});
