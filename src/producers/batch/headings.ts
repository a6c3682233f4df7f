/** The column that names the files. */
export const FILES = "files";

/**
 * What people call columns, in English, Spanish, German and Italian, without accents. Only what can be meant in one way:
 * "documento" is a file to one and an identity card to the next.
 */
const HEADINGS: Record<string, readonly string[]> = {
  [FILES]: [
    ...["file", "document", "documents", "pdf", "archivo", "archivos", "fichero", "ficheros", "documentos"],
    ...["datei", "dateien", "dokument", "dokumente", "documenti"],
  ],
  reference: ["ref", "referencia", "expediente", "referenz", "aktenzeichen", "riferimento"],
  email: [
    ...["e_mail", "mail", "email_address", "e_mail_address", "correo", "correo_electronico"],
    ...["e_mail_adresse", "email_adresse", "mailadresse", "indirizzo_email", "indirizzo_e_mail", "posta_elettronica"],
  ],
  mobile_phone_number: [
    ...["phone", "phone_number", "mobile", "mobile_phone", "mobile_number"],
    ...["movil", "telefono", "telefono_movil", "numero_de_movil", "numero_de_telefono"],
    ...["handy", "handynummer", "mobilnummer", "mobiltelefon", "telefon", "telefonnummer"],
    ...["cellulare", "telefono_cellulare", "numero_di_cellulare", "numero_di_telefono"],
  ],
  given_name: ["first_name", "forename", "nombre", "vorname", "nome"],
  surname_1: [
    ...["surname", "surname1", "last_name", "family_name", "apellido", "apellido_1", "primer_apellido"],
    ...["nachname", "familienname", "cognome"],
  ],
  surname_2: ["surname2", "second_surname", "apellido_2", "segundo_apellido", "secondo_cognome"],
  serial_number: [
    ...["id_number", "document_number", "dni", "nie", "numero_de_documento", "no_de_documento"],
    ...["ausweisnummer", "numero_documento", "numero_del_documento"],
  ],
};
const COLUMN_OF = new Map(
  Object.entries(HEADINGS).flatMap(([name, known]) => known.map((heading) => [heading, name] as const)),
);

/** The name of the column that a heading means: case, accents, spaces and dashes play no part. */
export function toColumnName(heading: string): string {
  const plain = heading
    .normalize("NFKD")
    .replaceAll(/\p{M}/gu, "")
    .toLowerCase()
    .replaceAll(/[*:]/g, "")
    .trim()
    .replaceAll(/[\s.-]+/g, "_")
    .replace(/^signer_(?!$)/, "");
  return COLUMN_OF.get(plain) ?? plain;
}
