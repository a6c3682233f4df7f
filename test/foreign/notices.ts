/** Notifications in both shapes, late, in copies, or in the wrong order. Nobody listens to how they are received. */
import { type Readings, type Status } from "./readings.ts";

export interface Change {
  requestPk: number;
  from: Status | undefined;
  to: Status;
  event: string;
}

export function createNotices(readings: Readings, target: () => string | undefined) {
  const timers = new Set<NodeJS.Timeout>();
  let held: object[] = [];

  function shapes(change: Change): object[] {
    const at = new Date();
    const digits = at.toISOString().replace(/[-:T]/g, "").slice(0, 14);
    const certificate = {
      status: "VALID",
      serial_number: "58edb21a8a653533",
      valid_from: `${digits.slice(0, 8)} 09:02:08`,
      valid_to: `${digits.slice(0, 8)} 10:02:08`,
    };
    const newest = {
      event_type: change.event,
      sent_at: digits,
      request: {
        status: change.to,
        profile: "PFnubeQAFCiudadano",
        registration_authority: 7,
        scratchcard: "2678100",
        pk: change.requestPk,
        ...(readings.extraFields ? { previous_status: change.from } : {}),
      },
      certificates: change.to !== "ISSUED" ? [] : readings.extraFields ? certificate : [certificate],
    };
    const old = {
      status: change.to,
      date: at.toISOString().slice(0, -1),
      previous_status: change.from ?? "",
      request: change.requestPk,
      registration_authority: 139,
    };
    return [
      ...(readings.webhooks === "new" || readings.webhooks === "both" ? [newest] : []),
      ...(readings.webhooks === "old" || readings.webhooks === "both" ? [old] : []),
      ...(readings.webhooks === "both" ? [{ ...newest, event_type: "REQUEST_VALIDATION" }] : []),
    ];
  }
  async function post(body: object): Promise<void> {
    const url = target();
    if (url === undefined) return;
    const headers = readings.webhookType === undefined ? {} : { "content-type": readings.webhookType };
    const body_ = Buffer.from(JSON.stringify(body));
    await fetch(url, { method: "POST", headers, body: body_, signal: AbortSignal.timeout(5_000) })
      .then((response) => response.arrayBuffer())
      .catch(() => undefined);
  }
  function later(bodies: object[]): void {
    const timer = setTimeout(() => {
      timers.delete(timer);
      for (const body of bodies) void post(body);
    }, readings.webhookDelayMs);
    timers.add(timer);
  }
  return {
    tell(change: Change): void {
      const bodies = shapes(change).flatMap((body) => Array.from({ length: readings.webhookCopies }, () => body));
      if (!readings.webhooksReversed) return later(bodies);
      // The newer of two changes is told first.
      if (held.length === 0) held = bodies;
      else {
        later([...bodies, ...held]);
        held = [];
      }
    },
    close(): void {
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
