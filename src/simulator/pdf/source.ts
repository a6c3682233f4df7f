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
