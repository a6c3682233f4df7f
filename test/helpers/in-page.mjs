/* global document, getComputedStyle, matchMedia, NodeFilter */
// Runs inside the browser's pages (helpers/browser.ts puts it there), where nothing of Node is.

/** Fields, buttons and links that have no name for somebody who cannot see them. */
function nameless() {
  return [...document.querySelectorAll("input, select, textarea, button, a[href], summary")]
    .filter((element) => element.type !== "hidden" && element.checkVisibility())
    .filter((element) => {
      const told = element.getAttribute("aria-label") || element.title || element.textContent.trim();
      return !told && !element.labels?.length;
    })
    .map((element) => element.outerHTML.slice(0, 120));
}

/** Text or label of what has the focus. */
function focused() {
  const element = document.activeElement;
  const text = element?.labels?.[0]?.textContent ?? element?.textContent ?? "";
  return text.trim().replaceAll(/\s+/g, " ");
}

const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** Red, green and blue of 0 to 255, and opacity of 0 to 1, of any CSS colour. */
function toColour(css) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = css;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}

function over(top, below) {
  return [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
}

function groundOf(element) {
  if (!element) return toColour(matchMedia("(prefers-color-scheme: dark)").matches ? "#121212" : "#ffffff");
  const own = toColour(getComputedStyle(element).backgroundColor);
  return own[3] === 1 ? own : over(own, groundOf(element.parentElement));
}

/** @source WCAG 2.2, "relative luminance" */
function luminance(colour) {
  const [r, g, b] = colour
    .slice(0, 3)
    .map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Visible texts whose contrast is below what normal text needs. @source WCAG 2.2 §1.4.3 */
function faint() {
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = node.textContent.trim();
    if (text === "" || !element.checkVisibility()) continue;
    const ground = groundOf(element);
    const ink = over(toColour(getComputedStyle(element).color), ground);
    const [light, dark] = [luminance(ground), luminance(ink)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) found.add(`${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return [...found];
}

function sideways() {
  return document.documentElement.scrollWidth - document.documentElement.clientWidth;
}

globalThis.inPage = { nameless, focused, faint, sideways };
