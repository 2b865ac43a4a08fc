// `npm run fuzz [-- SECONDS [TARGET...]]` fuzzes the data that guests and files can send, for that
// many seconds a target (default 20). Finds crashes, hangs and growing memory. Keeps its findings
// under crates/machine/fuzz/artifacts, and its corpus beside them for the next run. Needs
// cargo-fuzz (`cargo install cargo-fuzz --locked`). Ends with status 1 when a target failed.

import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
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
const failed = (only.length > 0 ? only : all).filter(target => {
  const limits = [
    `-max_total_time=${seconds}`,
    `-seed=${seed}`,
    '-timeout=10',
    '-rss_limit_mb=2048',
    '-verbosity=0',
    '-print_final_stats=1',
  ]
  const status = fuzz('run', target, '--', ...limits)
  console.log(status === 0 ? `✔ fuzz ${target}` : `✘ fuzz ${target} with KVM_ACCEL_SEED=${seed}`)
  return status !== 0
})
process.exitCode = failed.length > 0 ? 1 : 0
