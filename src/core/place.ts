/** A rectangle in points: its lower left and its upper right corner. */
export interface Box {
  x1: number;
  y1: number;
  x2: number;
  y2: number;
}

/** What is shown of a page, and by how many degrees it is turned clockwise for that: 0, 90, 180 or 270. */
export interface PageShape {
  box: Box;
  turned: number;
}

/** Positions are whole points, and pages seldom are: A4 is 595.28 wide. */
const TOLERANCE = 1;

/** "x1, y1, x2, y2" as numbers. Throws when it is something else: the schema of an appearance lets nothing else pass. */
export function toBox(position: string): Box {
  const [x1, y1, x2, y2] = position.split(",").map(Number);
  if (x1 === undefined || y1 === undefined || x2 === undefined || y2 === undefined) throw new Error("not a position");
  return { x1, y1, x2, y2 };
}

/** How large a page is as it is seen, in whole points. */
export function sizeOf({ box, turned }: PageShape): { width: number; height: number } {
  const [width, height] = [Math.round(box.x2 - box.x1), Math.round(box.y2 - box.y1)];
  return turned % 180 === 0 ? { width, height } : { width: height, height: width };
}

/**
 * Whether a visible signature lies on the page with all it has. Where a page is turned, or does not begin at 0, nobody
 * publishes whether the provider counts as the file does or as the page is seen: it has to lie on it in both readings,
 * since a signature beside the page is seen by nobody.
 * @source docs/provider.md §Signature appearance
 */
export function liesOn(place: Box, shape: PageShape): boolean {
  const { width, height } = sizeOf(shape);
  return [shape.box, { x1: 0, y1: 0, x2: width, y2: height }].every((box) => isWithin(place, box));
}

function isWithin(inner: Box, outer: Box): boolean {
  return (
    inner.x1 >= outer.x1 - TOLERANCE &&
    inner.y1 >= outer.y1 - TOLERANCE &&
    inner.x2 <= outer.x2 + TOLERANCE &&
    inner.y2 <= outer.y2 + TOLERANCE
  );
}
