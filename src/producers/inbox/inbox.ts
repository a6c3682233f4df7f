export interface Inbox { start(): Promise<void>; stop(): Promise<void>; check(): { ok: boolean } }
export function createInbox(_: object): Inbox { return { start: () => Promise.resolve(), stop: () => Promise.resolve(), check: () => ({ ok: true }) }; }
