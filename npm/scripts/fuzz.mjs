// `npm run fuzz [-- SECONDS [TARGET...]]` fuzzes the data that guests and files can send, for that
// many seconds a target (default 20). Finds crashes, hangs, growing memory and calls that do too
// much work. Keeps its findings under crates/machine/fuzz/artifacts, and its corpus beside them for
// the next run. With 0 seconds, it writes the seeds of the targets again instead. Needs cargo-fuzz
// (`cargo install cargo-fuzz --locked`). Ends with status 1 when a target failed.

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { seed } from './seed.mjs'
import { root } from './steps.mjs'

const [seconds = '20', ...only] = process.argv.slice(2)
const crate = join(root, 'crates/machine')
const all = readdirSync(join(crate, 'fuzz/fuzz_targets')).map(name => name.replace(/\.rs$/, ''))
const unknown = only.filter(target => !all.includes(target))
if (!/^\d+$/.test(seconds) || unknown.length > 0) {
  console.error(`usage: npm run fuzz [-- SECONDS [TARGET...]], with targets ${all.join(', ')}`)
  process.exit(2)
}
try {
  execFileSync('cargo', ['fuzz', '--version'], { stdio: 'ignore' })
} catch {
  console.error('cargo-fuzz is missing. Install it: cargo install cargo-fuzz --locked')
  process.exit(2)
}
// Without a sanitizer: sanitizers need a nightly compiler, and the code is safe except for a few
// lines.
const fuzz = (verb, ...args) =>
  spawnSync('cargo', ['fuzz', verb, '-s', 'none', ...args], { cwd: crate, stdio: 'inherit' }).status
if (fuzz('build') !== 0) process.exit(1)

/** Returns a folder of a target's inputs, relative to the crate. */
const folder = (kind, target) => {
  const path = `fuzz/${kind}/${target}`
  mkdirSync(join(crate, path), { recursive: true })
  return path
}

/** The largest seed in bytes. */
const LARGEST_SEED = 512

/** Replaces a target's seeds by the fewest short inputs that reach the same code. */
const writeSeeds = target => {
  const [seeds, corpus] = [folder('seeds', target), folder('corpus', target)]
  const fewest = folder('corpus', `${target}.seeds`)
  const status = fuzz('run', target, fewest, seeds, corpus, '--', '-set_cover_merge=1', `-max_len=${LARGEST_SEED}`)
  if (status !== 0) return status
  rmSync(join(crate, seeds), { recursive: true })
  renameSync(join(crate, fewest), join(crate, seeds))
  return status
}

const run = target => {
  const limits = [
    `-max_total_time=${seconds}`,
    `-seed=${seed}`,
    '-timeout=10',
    '-rss_limit_mb=2048',
    '-verbosity=0',
    '-print_final_stats=1',
  ]
  return fuzz('run', target, folder('corpus', target), folder('seeds', target), '--', ...limits)
}

const failed = (only.length > 0 ? only : all).filter(target => {
  const status = seconds === '0' ? writeSeeds(target) : run(target)
  console.log(status === 0 ? `✔ fuzz ${target}` : `✘ fuzz ${target} with KVM_ACCEL_SEED=${seed}`)
  return status !== 0
})
process.exitCode = failed.length > 0 ? 1 : 0
