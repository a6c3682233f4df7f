import { expect, test } from "vitest";
import { isSamePage, type Page } from "../../src/files/page-text.ts";

const LEASE = "This lease of the flat in Calle Mayor 7 is made between Ana and Juan for 1,250.00 a month.";
const page = (text: string, more: Partial<Page> = {}): Page => ({ text, sides: [595, 842], hasNotes: false, ...more });
const isSame = (original: string, found: string) => isSamePage(page(original), page(found));

test("blanks, line breaks, soft hyphens, ligatures and composed accents make no difference", () => {
  expect(isSame(LEASE, LEASE.replaceAll(" ", "\n  "))).toBe(true);
  expect(
    isSame("the official confirmation of the office", "the o\uFB03cial con\uFB01r\u00ADmation of the o\uFB03ce"),
  ).toBe(true);
  expect(isSame("Señor Núñez vive en la Calle Mayor", "Sen\u0303or Nu\u0301n\u0303ez vive en la Calle Mayor")).toBe(
    true,
  );
  expect(isSame(`\u0000${LEASE}\uE001`, `\uFFFD${LEASE}`)).toBe(true);
});

test("one other letter, digit or sign, text that is missing, and text in another order are noticed", () => {
  expect(isSame(LEASE, LEASE.replace("Ana", "Eva"))).toBe(false);
  expect(isSame(LEASE, LEASE.replace("1,250", "1,350"))).toBe(false);
  expect(isSame(LEASE, LEASE.replace("1,250.00", "125,000"))).toBe(false);
  expect(isSame(LEASE, LEASE.slice(0, -9))).toBe(false);
  expect(isSame(LEASE, "")).toBe(false);
  expect(isSame(LEASE, `${LEASE.slice(20)}${LEASE.slice(0, 20)}`)).toBe(false);
  expect(isSame(LEASE, `${LEASE.slice(0, 40)} not ${LEASE.slice(40)}`)).toBe(false);
});

test("a page may gain the appearance of a signature, not a text of its own", () => {
  expect(isSame(LEASE, `${LEASE} Digitally signed by Ana García, 2026-11-26 10:00`)).toBe(true);
  expect(isSame(LEASE, `Digitally signed by Ana García ${LEASE}`)).toBe(true);
  expect(isSame(LEASE, `${LEASE} ${"another clause ".repeat(100)}`)).toBe(false);
  expect(isSame("", "another document ".repeat(100))).toBe(false);
});

test("a page with comments or fields may have them drawn into it, however much text they have", () => {
  const form = page(LEASE, { hasNotes: true });
  expect(isSamePage(form, page(`${LEASE} ${"what was filled in ".repeat(100)}`))).toBe(true);
  expect(isSamePage(form, page(`${LEASE.replace("Ana", "Eva")} filled in`))).toBe(false);
});

test("a page without text, or with little more than its number, has to have the same size, upright or turned", () => {
  const scan = page("- 3 -");
  expect(isSamePage(scan, page("- 3 -", { sides: [595.3, 841.9] }))).toBe(true);
  expect(isSamePage(scan, page("- 3 -", { sides: [612, 792] }))).toBe(false);
  expect(isSamePage(page(LEASE), page(LEASE, { sides: [612, 792] }))).toBe(true);
});
