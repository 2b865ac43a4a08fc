import type { ExecutionContext } from 'ava'
import { randomInt } from 'node:crypto'

/**
 * The seed of a random test: KVM_ACCEL_SEED; with CI=true always the same one, so that what fails there fails again; else another one in each run. Logged, so that a
 * failed test shows it.
 */
export const seed = (t: ExecutionContext): number => {
  const chosen = process.env['KVM_ACCEL_SEED']
  const value = chosen !== undefined ? Number(chosen) : process.env['CI'] === 'true' ? 1 : randomInt(2 ** 31)
  t.log(`seed ${value}: KVM_ACCEL_SEED=${value} repeats this run`)
  return value
}
