import type { ExecutionContext } from 'ava'
import { randomInt } from 'node:crypto'

/**
 * Returns the seed of a random test: KVM_ACCEL_SEED if it is set; a fixed seed with CI=true, so
 * that a failure there is reproducible; else another seed in each run. Logs the seed, so that a
 * failed test shows it.
 */
export const seed = (t: ExecutionContext): number => {
  const chosen = process.env['KVM_ACCEL_SEED']
  const value = chosen !== undefined ? Number(chosen) : process.env['CI'] === 'true' ? 1 : randomInt(2 ** 31)
  t.log(`seed ${value}: KVM_ACCEL_SEED=${value} repeats this run`)
  return value
}
