/**
 * Returns a generator of random numbers in [0, 1), which the seed determines: mulberry32.
 *
 * @param {number} state
 * @returns {() => number}
 */
export const random = state => () => {
  state = (state + 0x6d2b79f5) | 0
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
}
