// The Rust benchmarks (crates/machine/benches/), which answer requests one at a time.

import { spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fail, root } from '../steps.mjs'

const executable = name => {
  const build = ['bench', '--quiet', '--package', 'kvm-accel-machine', '--bench', name, '--no-run']
  const { status, stdout, stderr } = spawnSync('cargo', [...build, '--message-format', 'json'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  if (status !== 0) fail(`the benchmark does not build\n${stderr}`)
  const messages = stdout.split('\n').filter(line => line.startsWith('{'))
  return messages.map(line => JSON.parse(line)).find(({ target, executable }) => executable && target?.name === name)
    .executable
}

/** Starts the benchmark `name`. `ask(request)` resolves with its answer. */
export const rustBench = (name = 'exits') => {
  const child = spawn(executable(name), ['--ask'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    ask: async request => {
      child.stdin.write(`${request}\n`)
      const { value, done } = await lines.next()
      if (done) throw new Error(`The Rust benchmark ended at '${request}'`)
      return JSON.parse(value)
    },
    end: () => child.stdin.end(),
  }
}
