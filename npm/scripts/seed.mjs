// The seed of random tests: fixed with CI=true, given by `KVM_ACCEL_SEED`, or random.

import { randomInt } from 'node:crypto'

export const seed = Number(process.env.KVM_ACCEL_SEED ?? (process.env.CI === 'true' ? 1 : randomInt(1, 2 ** 31)))

/**
 * The environment of processes that run random tests. proptest keeps no file of failures, because the seed repeats them.
 *
 * @param {number} number
 */
export const seeded = number => ({
  KVM_ACCEL_SEED: String(number),
  PROPTEST_RNG_SEED: String(number),
  PROPTEST_DISABLE_FAILURE_PERSISTENCE: '1',
  SHUTTLE_RANDOM_SEED: String(number),
})
