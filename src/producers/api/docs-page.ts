import type { ApiParts } from "./ports.ts";
import { html, type Html } from "./html.ts";
import { type ApiDocument, type Media, type Operation, schemaName } from "./openapi.ts";
import { PROBLEMS } from "./problem.ts";

interface Call {
  method: string;
  path: string;
  operation: Operation;
}

/** The page that explains every call, made from the OpenAPI document. `origin` is where the reader reached it. */
export function renderDocs(document: ApiDocument, origin: string, stages: ApiParts["stages"]): string {
  const calls = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]): Call => ({ method: method.toUpperCase(), path, operation })),
  );
  const groups = document.tags
    .map((tag) => ({
      ...tag,
      calls: calls.filter(({ operation }) => operation.tags?.includes(tag.name)).sort(submitFirst),
    }))
    .filter((group) => group.calls.length > 0);
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${document.info.title} API</title>
        <link rel="icon" type="image/svg+xml" href="/docs/icon.svg" />
        <link rel="stylesheet" href="/docs/style.css" />
      </head>
      <body>
        <a class="skip" href="#main">Skip to the calls</a>
        <nav aria-label="Calls">
          <p class="brand">${document.info.title} <span>API ${document.info.version}</span></p>
          ${groups.map(
            (group) =>
              html`<h2>${group.name}</h2>
                <ul>
                  ${group.calls.map(
                    ({ method, operation }) =>
                      html`<li>
                        <a href="#${operation.operationId}"
                          ><b class="m ${method.toLowerCase()}">${method}</b> <span>${operation.summary}</span></a
                        >
                      </li>`,
                  )}
                </ul> `,
          )}
          <h2>Reference</h2>
          <ul>
            <li><a href="#manifest">The manifest</a></li>
            <li><a href="#problems">Problems</a></li>
            <li><a href="/openapi.json">openapi.json</a></li>
          </ul>
        </nav>
        <main id="main">
          <header>
            <h1>${document.info.title} API</h1>
            <p class="lead">${document.info.description}</p>
            <h2>Start here</h2>
            <p>
              Every call but those under Provider, Watching and Pages needs a key from <code>API_KEYS</code>. Set these
              two once, and every example on this page can be pasted into a shell:
            </p>
            <pre><code>export SIGNPIPE=${origin}
export SIGNPIPE_KEY=…            # the part of API_KEYS behind the colon</code></pre>
            <h2>The way of a request</h2>
            <ol class="stages">
              ${stages.map(({ name, title }) => html`<li><b>${name}</b><span>${title}</span></li>`)}
            </ol>
            <p>
              At each step a request is <code>queued</code>, <code>running</code>, <code>waiting</code> for somebody, or
              <code>retrying</code>; it ends as <code>done</code>, <code>refused</code>, <code>cancelled</code>,
              <code>expired</code> or <code>failed</code>. That word is its <code>state</code>.
            </p>
          </header>
          ${groups.map((group) => section(group, document))} ${manifestSection(document)} ${problemSection()}
        </main>
      </body>
    </html> `;
  return page.html;
}

/** A reader begins where a request does. */
function submitFirst(a: Call, b: Call): number {
  return Number(b.operation.operationId === "submitRequest") - Number(a.operation.operationId === "submitRequest");
}

function section(group: { name: string; description: string; calls: Call[] }, document: ApiDocument): Html {
  return html`<section class="group">
    <h2>${group.name}</h2>
    <p>${group.description}</p>
    ${group.calls.map((call) => callArticle(call, document))}
  </section> `;
}

function callArticle({ method, path, operation }: Call, document: ApiDocument): Html {
  const { operationId, summary, description, parameters = [], requestBody, responses } = operation;
  const [media] = Object.entries(requestBody?.content ?? {});
  return html`<article id="${operationId}">
    <h3><a href="#${operationId}">${summary}</a></h3>
    <p class="path">
      <b class="m ${method.toLowerCase()}">${method}</b> <code>${path}</code>${
        operation.security?.length === 0 && html` <span class="open">no key</span>`
      }
    </p>
    <p>${description}</p>
    ${
      parameters.length > 0 &&
      html`<table>
        <caption>
          Parameters
        </caption>
        <thead>
          <tr>
            <th>Name</th>
            <th>In</th>
            <th>Meaning</th>
          </tr>
        </thead>
        <tbody>
          ${parameters.map(
            (parameter) =>
              html`<tr>
                <td><code>${parameter.name}</code>${parameter.required && html` <em>required</em>`}</td>
                <td>${parameter.in}</td>
                <td>${parameter.description ?? descriptionOf(parameter.schema)}${valuesOf(parameter.schema)}</td>
              </tr>`,
          )}
        </tbody>
      </table> `
    }${
      media?.[1].example !== undefined && media[0] === "application/json"
        ? html`<h4>Body <span>${media[0]}</span></h4>
            <pre><code>${json(media[1].example)}</code></pre> `
        : undefined
    }
    <h4>Try it</h4>
    <pre><code>${toCurl({ method, path, operation })}</code></pre>
    <h4>Answers</h4>
    ${Object.entries(responses).map(([status, { description: meaning, content }]) => {
      const [first] = Object.entries(content ?? {}).filter(([type]) => type !== "application/problem+json");
      const problems = Object.entries(content?.["application/problem+json"]?.examples ?? {});
      // The description of a problem names its codes; they get a line each.
      const [before = ""] = meaning.split(/ ?`/, 1);
      return html`<div class="answer s${status.charAt(0)}">
        <b>${status}</b>
        <div>
          ${before !== "" && html`<p>${before}</p>`} ${first && answerExample(first, document)}
          ${problems.map(([code, { summary: title }]) => html`<p><a href="#problem-${code}">${code}</a> ${title}.</p>`)}
        </div>
      </div> `;
    })}
  </article> `;
}

function answerExample([type, media]: [string, Media], document: ApiDocument): Html | undefined {
  if (media.example === undefined) return undefined;
  const name = schemaName(media);
  const known = name !== undefined && name in document.components.schemas;
  return html`<details>
    <summary>${known ? name : type}</summary>
    <pre><code>${json(media.example)}</code></pre>
  </details>`;
}

function manifestSection(document: ApiDocument): Html {
  return html`<section class="group" id="manifest">
    <h2>The manifest</h2>
    <p>
      Says who signs and how. The same JSON is the sidecar of a PDF in the inbox and the <code>request.json</code> of a
      folder. Fields that are not listed are refused by name.
    </p>
    <pre><code>${json(document.paths["/v1/requests"]?.["post"] && exampleOf(document))}</code></pre>
    <details>
      <summary>JSON Schema</summary>
      <pre><code>${json(document.components.schemas["Manifest"])}</code></pre>
    </details>
  </section> `;
}

function exampleOf(document: ApiDocument): unknown {
  const media = document.paths["/v1/requests"]?.["post"]?.requestBody?.content["multipart/form-data"];
  return (media?.example as { manifest?: unknown } | undefined)?.manifest;
}

function problemSection(): Html {
  return html`<section class="group" id="problems">
    <h2>Problems</h2>
    <p>
      Every error is <code>application/problem+json</code> with a <code>code</code> for programs, a
      <code>detail</code> for people, <code>errors</code> when it is about fields, and a
      <code>correlation_id</code> that is also in the log. Where it helps to try again, <code>Retry-After</code> says
      when.
    </p>
    <table>
      <thead>
        <tr>
          <th>Code</th>
          <th>Status</th>
          <th>Meaning</th>
        </tr>
      </thead>
      <tbody>
        ${Object.entries(PROBLEMS)
          .sort(([, a], [, b]) => a.status - b.status)
          .map(
            ([code, problem]) =>
              html`<tr id="problem-${code}">
                <td><code>${code}</code></td>
                <td>${problem.status}</td>
                <td>${problem.title}${"retryAfterSeconds" in problem && html` <em>may be repeated</em>`}</td>
              </tr>`,
          )}
      </tbody>
    </table>
  </section> `;
}

/** A call that can be pasted into a shell once SIGNPIPE and SIGNPIPE_KEY are set. */
function toCurl({ method, path, operation }: Call): string {
  const file = /(\/contract|\/signed)$/.exec(path);
  const address = path.replace("{n}", "1").replace("{secret}", "$WEBHOOK_SECRET").replace("{id}", "$ID");
  const lines = ["curl"];
  if (operation.security?.length !== 0) lines.push('-H "Authorization: Bearer $SIGNPIPE_KEY"');
  if (operation.operationId === "submitRequest") {
    lines.push('-H "Idempotency-Key: $(uuidgen)"');
    lines.push("-F 'manifest=@request.json;type=application/json' -F 'file=@agreement.pdf;type=application/pdf'");
  } else if (method === "POST") {
    const [media] = Object.entries(operation.requestBody?.content ?? {});
    if (media && media[0] === "application/json") {
      lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(media[1].example)}'`);
    } else lines.push("-X POST");
  }
  if (file) lines.push("-OJ");
  lines.push(`"$SIGNPIPE${address}${operation.operationId === "listRequests" ? "?state=waiting&limit=20" : ""}"`);
  return lines.join(lines.join(" ").length > 90 ? " \\\n  " : " ");
}

function descriptionOf(schema: object): string {
  return "description" in schema && typeof schema.description === "string" ? schema.description : "";
}

function valuesOf(schema: object): Html | undefined {
  const options = "anyOf" in schema && Array.isArray(schema.anyOf) ? (schema.anyOf as object[]) : [schema];
  const [values] = options.flatMap((option) =>
    "enum" in option && Array.isArray(option.enum) ? [(option.enum as unknown[]).map(String)] : [],
  );
  return values && html` One of ${values.map((value, i) => html`${i > 0 && ", "}<code>${value}</code>`)}.`;
}

function json(value: unknown): string {
  return JSON.stringify(value, undefined, 2);
}
