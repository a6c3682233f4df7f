/** A text message that the provider would have sent to the signer's phone. The only place where codes can be seen. */
export type Message = { request_pk: number; phone: string; code: string; delivery_method: string; at: string };

export type Outbox = { messages: readonly Message[]; add: (message: Message) => void };

/** The newest messages, at most `keep` of them. */
export function createOutbox(earlier: Iterable<Message> = [], keep = 100_000): Outbox {
  const messages: Message[] = [...earlier];
  return {
    messages,
    add(message) {
      messages.push(message);
      if (messages.length > keep) messages.splice(0, messages.length - keep / 2);
    },
  };
}
