/** Numbers that one seed decides, the same in every run. */
export interface Random {
  /** In [0, 1). */
  next(): number;
  /** A whole number, both ends included. */
  between(least: number, most: number): number;
  pick<T>(list: readonly T[]): T;
  /** A source of its own, so that one part's draws do not shift another's. */
  fork(name: string): Random;
}

/** A linear congruential generator over 64 bits, of which the upper 32 are used. @source Knuth, TAOCP 2, §3.3.4 (MMIX) */
export function randomFrom(seed: number | bigint): Random {
  let state = BigInt.asUintN(64, BigInt(seed) * 2_654_435_761n + 1n);
  const next = () => {
    state = BigInt.asUintN(64, state * 6_364_136_223_846_793_005n + 1_442_695_040_888_963_407n);
    return Number(state >> 32n) / 2 ** 32;
  };
  const between = (least: number, most: number) => least + Math.floor(next() * (most - least + 1));
  return {
    next,
    between,
    pick: <T>(list: readonly T[]) => list[between(0, list.length - 1)] as T,
    fork(name) {
      let mixed = BigInt(seed);
      for (const letter of name) mixed = BigInt.asUintN(64, mixed * 1_099_511_628_211n + BigInt(letter.charCodeAt(0)));
      return randomFrom(mixed);
    },
  };
}
