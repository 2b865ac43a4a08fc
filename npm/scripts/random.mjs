// `npm run test:random [-- MINUTES]` repeats the random tests for that many minutes (default 10).
// Each round has another seed, and more cases than `npm test`. A round that fails is the last one,
// and its seed reproduces it.

import { spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { propertyTests } from './rust-tests.mjs'
import { seeded } from './seed.mjs'
import { fail, interposer, root, setUp } from './steps.mjs'

const [minutes = '10', ...rest] = process.argv.slice(2)
if (!(Number(minutes) > 0) || rest.length > 0) fail('usage: npm run test:random [-- MINUTES]')

/** The number of cases of a property in a round. */
const CASES = 2000

setUp()
interposer()
const files = readdirSync(join(root, '__test__'), { recursive: true })
  .filter(name => name.endsWith('.test.ts'))
  .filter(name => readFileSync(join(root, '__test__', name), 'utf8').includes('helpers/random.js'))
  .map(name => `__test__/${name}`)
const rust = ['test', '--workspace', '--lib', '--tests', '--quiet', '--no-fail-fast', '--', ...new Set(propertyTests())]
const commands = [
  ['cargo', rust],
  [join(root, 'node_modules/.bin/ava'), files],
]

const end = Date.now() + Number(minutes) * 60_000
for (let round = 1; round === 1 || Date.now() < end; round++) {
  const seed = round === 1 && process.env.KVM_ACCEL_SEED ? Number(process.env.KVM_ACCEL_SEED) : randomInt(1, 2 ** 31)
  const env = { ...process.env, ...seeded(seed), PROPTEST_CASES: String(CASES), KVM_ACCEL_RANDOM_CASES: String(CASES) }
  for (const [command, args] of commands) {
    const { status, stdout, stderr } = spawnSync(command, args, {
      cwd: root,
      env,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    })
    if (status === 0) continue
    console.log(`${stdout}${stderr}`)
    fail(`round ${round} failed`, `Repeat it: KVM_ACCEL_SEED=${seed} npm run test:random -- 0.01`)
  }
  console.log(`✔ round ${round}, seed ${seed}`)
}
