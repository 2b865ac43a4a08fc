// fast-check with the seed of this run. A property that fails prints seed and path; the seed is fixed with CI=true.

import fc from 'fast-check'

/** Reads a number from an environment variable that `npm test` or `npm run test:random` sets. */
const number = (name: string): number | undefined => {
  const text = process.env[name]
  return text === undefined ? undefined : Number(text)
}

const seed = number('KVM_ACCEL_SEED') ?? (process.env['CI'] === 'true' ? 1 : undefined)
const numRuns = number('KVM_ACCEL_RANDOM_CASES')
fc.configureGlobal({ ...(seed !== undefined && { seed }), ...(numRuns !== undefined && { numRuns }) })

export default fc
