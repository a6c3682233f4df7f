/** Reads a multipart/form-data body that is whole in memory. @source RFC 7578, RFC 2046 section 5.1 */
export interface Part {
  name: string;
  filename: string | undefined;
  type: string | undefined;
  content: Buffer;
}

export function readMultipart(body: Buffer, contentType: string): Part[] | undefined {
  const named = /boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType);
  const boundary = named?.[1] ?? named?.[2];
  if (!/^multipart\/form-data/i.test(contentType) || boundary === undefined) return undefined;
  const parts: Part[] = [];
  const line = `\r\n--${boundary}`;
  const whole = Buffer.concat([Buffer.from("\r\n"), body]);
  let at = whole.indexOf(line);
  for (;;) {
    if (at < 0) return undefined;
    const after = at + line.length;
    if (whole.toString("latin1", after, after + 2) === "--") return parts;
    const head = whole.indexOf("\r\n\r\n", after);
    const next = whole.indexOf(line, after);
    if (head < 0 || next < 0) return undefined;
    const headers = whole.toString("utf8", after, head);
    const name = /content-disposition:[^\r\n]*[;\s]name="([^"]*)"/i.exec(headers)?.[1];
    if (name === undefined) return undefined;
    parts.push({
      name,
      filename: /filename="([^"]*)"/i.exec(headers)?.[1],
      type: /content-type:\s*([^\r\n;]+)/i.exec(headers)?.[1]?.trim(),
      content: whole.subarray(head + 4, next),
    });
    at = next;
  }
}
