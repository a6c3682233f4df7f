/** A message of a stream of server-sent events. */
export interface Message {
  /** What to send as Last-Event-ID to go on behind it; that of an earlier message where it has none of its own. */
  lastId: string;
  event: string;
  data: string;
}

/**
 * Reads a stream of server-sent events. `quietMs` is how long nothing at all may come, signs of life included, before
 * `onQuiet` is called. Ends with the stream; a message that was cut off is dropped.
 * @source WHATWG HTML §9.2.6, "Interpreting an event stream"
 */
export async function* readMessages(
  body: AsyncIterable<Uint8Array>,
  { quietMs, onQuiet, onRetry }: { quietMs: number; onQuiet: () => void; onRetry: (ms: number) => void },
): AsyncGenerator<Message> {
  const timer = setTimeout(onQuiet, quietMs);
  try {
    let [lastId, event, data] = ["", "", [] as string[]];
    for await (const line of readLines(body, () => timer.refresh())) {
      if (line === "") {
        if (data.length > 0) yield { lastId, event: event || "message", data: data.join("\n") };
        [event, data] = ["", []];
        continue;
      }
      const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (name === "event") event = value;
      else if (name === "data") data.push(value);
      else if (name === "id" && !value.includes("\0")) lastId = value;
      else if (name === "retry" && /^\d+$/.test(value)) onRetry(Number(value));
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Lines end with CR, LF, or both; what is after the last end is no line. */
async function* readLines(body: AsyncIterable<Uint8Array>, heard: () => void): AsyncGenerator<string> {
  // Takes a byte order mark away by itself, and holds back what is half a letter.
  const decoder = new TextDecoder("utf-8");
  let rest = "";
  for await (const chunk of body) {
    heard();
    rest += decoder.decode(chunk, { stream: true });
    // A CR at the very end may be half of a line's end.
    for (let end = /\r\n|\n|\r(?!$)/.exec(rest); end; end = /\r\n|\n|\r(?!$)/.exec(rest)) {
      yield rest.slice(0, end.index);
      rest = rest.slice(end.index + end[0].length);
    }
  }
}
