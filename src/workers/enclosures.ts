import { type Enclosure, type EnclosureRole, fileNameOf } from "../core/identity.ts";
import type { Picture } from "../provider/provider.ts";
import type { FileToSend } from "../provider/sending.ts";
import { whileOurs } from "./ours.ts";
import type { Tools } from "./stage.ts";

/** What the caller handed in to show who the signer is, as files to send, by their roles. */
export function toFiles(
  enclosures: readonly Enclosure[],
  { documents, isOurs }: Pick<Tools, "documents"> & { isOurs: () => boolean },
): Partial<Record<EnclosureRole, FileToSend>> {
  return Object.fromEntries(
    enclosures.map((file) => [
      file.name,
      { ...file, name: fileNameOf(file), open: () => whileOurs(documents.open(file), isOurs) },
    ]),
  );
}

/** The same, but only those that are pictures of this kind. */
export function toPictures<Role extends EnclosureRole>(
  files: Partial<Record<EnclosureRole, FileToSend>>,
  roles: readonly Role[],
): Partial<Record<Role, Picture>> {
  return Object.fromEntries(roles.flatMap((role) => (isPicture(files[role]) ? [[role, files[role]]] : []))) as Partial<
    Record<Role, Picture>
  >;
}

function isPicture(file: FileToSend | undefined): file is Picture {
  return file?.contentType === "image/jpeg" || file?.contentType === "image/png";
}
