// The seed of random tests: fixed with CI=true, else `KVM_ACCEL_SEED` if it is set, else random.

import { randomInt } from 'node:crypto'

export const seed = Number(process.env.KVM_ACCEL_SEED ?? (process.env.CI === 'true' ? 1 : randomInt(1, 2 ** 31)))

/**
 * Returns the environment of processes that run random tests. proptest writes no file of failures,
 * because the seed reproduces them.
 *
 * @param {number} number
 */
export const seeded = number => ({
  KVM_ACCEL_SEED: String(number),
  PROPTEST_RNG_SEED: String(number),
  PROPTEST_DISABLE_FAILURE_PERSISTENCE: '1',
  SHUTTLE_RANDOM_SEED: String(number),
})
