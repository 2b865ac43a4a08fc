// Tests debug exits that no test host's KVM causes. The interposer generates the exits. Everything
// after the exit is real, up to the guest's handler for its own exceptions.

import { join } from 'node:path'
import { interpose } from '../helpers/interpose.js'
import { root } from '../helpers/paths.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'
import type { Breakpoint } from 'kvm-accel'

const test = requires(kvm, preload)

/** `isa-debug-exit` of the guest's AL is `(AL << 1) | 1`. */
const ends = (al: number) => ({ reason: 'debug-exit', status: (al << 1) | 1 })

/** `out 0x80, al` at 0x1000, then `mov al, 1; out 0xf4, al`. */
const plain = [0xe6, 0x80, 0xb0, 1, 0xe6, 0xf4]

/** Installs a handler for one vector, which ends with AL = 2, and continues with `body`. */
const handled = (vector: number, body: readonly number[]): number[] => {
  const handler = 12 + body.length
  // mov word [4 * vector], 0x1000 + handler; mov word [4 * vector + 2], 0
  const install = [0xc7, 0x06, 4 * vector, 0, handler, 0x10, 0xc7, 0x06, 4 * vector + 2, 0, 0, 0]
  return [...install, ...body, 0xb0, 2, 0xe6, 0xf4]
}

/** Runs `code`. The interposer generates this exit after the guest's access to port 0x80. Returns the outcome. */
const outcome = async (code: readonly number[], breakpoints: readonly Breakpoint[], exit: string): Promise<unknown> => {
  const { env } = interpose(`debug:port=128,after=1,${exit}`)
  const script = join(root, '__test__/helpers/debug-run.mjs')
  const { status, stdout, stderr } = await run(process.execPath, [script, JSON.stringify({ code, breakpoints })], {
    env,
  })
  if (status !== 0) throw new Error(`Status ${status}: ${stderr}`)
  return JSON.parse(stdout)
}

test('a software breakpoint stops the machine at its address', async t => {
  const stop = { vcpu: 0, reason: 'breakpoint', address: 0x1002, rip: 0x1002 }
  const breakpoint: Breakpoint = { type: 'software', address: 0x1002 }
  t.deepEqual(await outcome(plain, [breakpoint], `exception=3,pc=${0x1002}`), { stops: [stop], ...ends(1) })
})

for (const type of ['write', 'access'] as const) {
  test(`a ${type} watchpoint stops the machine with the address it watches`, async t => {
    const stop = { vcpu: 0, reason: 'watchpoint', address: 0x2000, rip: 0x1002 }
    const breakpoints: Breakpoint[] = [
      { type: 'hardware', address: 0x3000 },
      { type, address: 0x2000, length: 4 },
    ]
    const exit = `exception=1,pc=${0x1002},dr6=${0xffff0ff2}`
    t.deepEqual(await outcome(plain, breakpoints, exit), { stops: [stop], ...ends(1) })
  })
}

for (const [name, vector, body, exit] of [
  ['single step', 1, plain, `exception=1,dr6=${0xffff4ff0}`],
  ['breakpoint register', 1, plain, `exception=1,dr6=${0xffff0ff1}`],
  // The instruction exists in memory, because kernels with hardware virtualization derive the return address from it.
  ['int3', 3, [0xe6, 0x80, 0xcc, ...plain.slice(2)], `exception=3,pc=${0x100e}`],
] as const) {
  test(`the guest's own ${name} is delivered to the guest's handler`, async t => {
    t.deepEqual(await outcome(handled(vector, body), [], exit), { stops: [], ...ends(2) })
  })
}
