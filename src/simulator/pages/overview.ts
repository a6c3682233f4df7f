import type { Context } from "../context.ts";
import type { Message } from "../outbox.ts";
import type { Status } from "../states.ts";
import type { Request } from "../store.ts";
import { html, page } from "./html.ts";
import { awaitsOfficer } from "./turns.ts";
import type { Html } from "./html.ts";

const SHOWN_ROWS = 200;
export const REFRESH_S = 2;

const TONE: Record<Status, "wait" | "good" | "bad" | ""> = {
  VIDEOPENDING: "wait",
  VIDEOINCOMPLETE: "wait",
  VIDEOREVIEW: "wait",
  VIDEOERROR: "bad",
  CREATED: "wait",
  ENROLLREADY: "good",
  ISSUED: "good",
  CANCELLED: "",
};

/** A status as a coloured label. */
export const chip = (status: Status, count?: number): Html =>
  html`<span class="chip ${TONE[status]}">${status}${count !== undefined && ` ${count}`}</span>`;

export const nav = html`<nav class="nav">
  <a href="/_sim/">Requests</a><a href="/_sim/sms">Text messages</a><a href="/_sim/officer">Officer</a
  ><a href="/_sim/ca.pem">CA certificate</a>
</nav>`;
const clockTime = (at: number): string => new Date(at).toISOString().slice(11, 19);

function row(context: Context, request: Request): Html {
  const signed = [...request.documents.values()].filter((document) => document.tailBytes !== undefined).length;
  return html`<tr>
    <td class="number">${request.pk}</td>
    <td class="number">${request.videoidPk ?? "–"}</td>
    <td>${chip(request.status)}</td>
    <td class="number">${request.documents.size}${signed > 0 && ` (${signed} signed)`}</td>
    <td class="number">${clockTime(request.createdAt)}</td>
    <td>${leadsTo(context, request)}</td>
  </tr>`;
}

/** Whose turn it is, where somebody can take it here. */
function leadsTo(context: Context, request: Request): Html | string {
  if (request.videoidPk === undefined) return "classic";
  if (awaitsOfficer(request)) return html`<a href="/_sim/officer">officer</a>`;
  return html`<a href="/identify/${context.store.linkOf(request)}">signer's page</a>`;
}

/** The requests by state, newest first. */
export function indexPage(context: Context): string {
  const all = [...context.store.requests.values()];
  const counts = new Map<Status, number>();
  for (const { status } of all) counts.set(status, (counts.get(status) ?? 0) + 1);
  const rows = all
    .slice(-SHOWN_ROWS)
    .reverse()
    .map((request) => row(context, request));
  const table = html`<section class="card scroll">
    <table>
      <thead>
        <tr>
          <th>Request</th>
          <th>VideoID</th>
          <th>State</th>
          <th>Documents</th>
          <th>Created (UTC)</th>
          <th></th>
        </tr>
      </thead>
      <tbody>
        ${rows}
      </tbody>
    </table>
  </section>`;
  const body = html`${nav}
    <h1>Local provider</h1>
    <p class="faint">
      Stands in for the One-Shot service at <code>${context.origin()}/oneshot/api/v1</code>, and in its first generation
      at <code>/api/v1</code>. Its certificates come from a CA of its own and have no legal value.
    </p>
    <ul class="counts">
      ${[...counts].map(([status, count]) => html`<li>${chip(status, count)}</li>`)}
    </ul>
    ${all.length > 0 ? table : html`<p class="card empty">No requests yet. They appear here as soon as one is created.</p>`}
    ${all.length > SHOWN_ROWS && html`<p class="faint small">The newest ${SHOWN_ROWS} of ${all.length}.</p>`}`;
  return page({ title: "Requests · simulator", body, refreshS: REFRESH_S });
}

function bubble(message: Message): Html {
  return html`<li>
    <div class="meta">
      <span
        >${message.delivery_method === "whatsapp" && "WhatsApp "}to the number ending in
        ${message.phone.slice(-3)}</span
      ><time>${message.at.slice(11, 19)} UTC</time>
    </div>
    <p class="small">Your code to sign request ${message.request_pk}:</p>
    <p class="code">${message.code}</p>
  </li>`;
}

/** What would have arrived on the signers' phones; the page reloads itself. */
export function smsPage(context: Context): string {
  const newest = context.outbox.messages.slice(-50).reverse();
  const body = html`${nav}
    <h1>Text messages</h1>
    <p class="faint">Codes that the provider would have sent. This page reloads itself.</p>
    ${
      newest.length > 0
        ? html`<ul class="sms">
            ${newest.map(bubble)}
          </ul>`
        : html`<p class="card empty">No messages yet.</p>`
    }`;
  return page({ title: "Text messages · simulator", body, narrow: true, refreshS: REFRESH_S });
}
