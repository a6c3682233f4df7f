/** A file to send. It is opened when its turn comes and closed after it, whatever happens. */
export interface FileToSend {
  /** The name people gave it; any Unicode. */
  name: string;
  contentType: string;
  sizeBytes: number;
  /** Lower-case hex. When given, other bytes are not let through to the end of the call. */
  sha256?: string | undefined;
  /** The bytes; blocks of 1 MiB are sent as they come. Let go of, as a `for await` does, when it is not read to its end. */
  open(): AsyncIterable<Buffer>;
}
