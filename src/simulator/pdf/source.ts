import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** Random access to the bytes of a file (or of a buffer); small ones are read once, large ones piece by piece. */
export type Source = { size: number; read: (offset: number, length: number) => Buffer; close: () => void };

const READ_WHOLE_BYTES = 1 << 20;

export function bufferSource(bytes: Buffer): Source {
  return {
    size: bytes.length,
    read: (offset, length) => bytes.subarray(offset, offset + length),
    close: () => undefined,
  };
}

export function fileSource(path: string): Source {
  const fd = openSync(path, "r");
  const size = fstatSync(fd).size;
  const read = (offset: number, length: number): Buffer => {
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)));
    let done = 0;
    while (done < bytes.length) {
      const got = readSync(fd, bytes, done, bytes.length - done, offset + done);
      if (got === 0) break;
      done += got;
    }
    return bytes.subarray(0, done);
  };
  if (size > READ_WHOLE_BYTES) return { size, read, close: () => closeSync(fd) };
  try {
    return bufferSource(read(0, size));
  } finally {
    closeSync(fd);
  }
}

/** The bytes of a source, and behind them others. Closing it closes the source. */
export function joinedSource(first: Source, second: Buffer): Source {
  const size = first.size + second.length;
  const read = (offset: number, length: number): Buffer => {
    const end = Math.min(offset + length, size);
    if (end <= first.size) return first.read(offset, end - offset);
    const rest = second.subarray(Math.max(offset - first.size, 0), end - first.size);
    return offset >= first.size ? rest : Buffer.concat([first.read(offset, first.size - offset), rest]);
  };
  return { size, read, close: first.close };
}
