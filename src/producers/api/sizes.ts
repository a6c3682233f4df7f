/** A number of bytes for people: "64 KiB", "1.5 GiB". */
export function toSize(bytes: number): string {
  const [size, unit] =
    bytes >= 1024 ** 3
      ? [bytes / 1024 ** 3, "GiB"]
      : bytes >= 1024 ** 2
        ? [bytes / 1024 ** 2, "MiB"]
        : [bytes / 1024, "KiB"];
  return `${Math.round(size * 10) / 10} ${unit}`;
}
