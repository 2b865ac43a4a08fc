// run(): a whole guest in one call; expect() and lines() on the ports of a machine.

import { Machine, guestImage, run, type CaptureOptions, type MachineOptions } from 'kvm-accel'
import { kvm, linux, requires } from '../helpers/requires.js'
import { linuxGuest } from '../helpers/linux-guest.js'
import { baseline, settled } from '../helpers/resources.mjs'

const test = requires(kvm)
const onLinux = requires(kvm, linux)

/** Writes `count` bytes 'x' to COM1, and exits with status 1. */
const writes = (count: number): MachineOptions => ({
  // mov dx, 0x3f8; mov cx, count; mov al, 'x'; out dx, al; loop; mov al, 0; out 0xf4, al
  kernel: Uint8Array.from([
    0xba,
    0xf8,
    3,
    0xb9,
    count & 0xff,
    count >> 8,
    0xb0,
    0x78,
    0xee,
    0xe2,
    0xfd,
    0xb0,
    0,
    0xe6,
    0xf4,
  ] as const),
  kernelFormat: 'flat',
  memory: '1M',
  debugExit: { iobase: 0xf4, iosize: 4 },
})

test('run() resolves with the output, the exit and the counters, and nothing is left', async t => {
  const before = await baseline()
  const { reason, output, bytes, counters, warnings } = await run({ kernel: guestImage('hello'), noReboot: true })
  t.is(reason, 'guest-reset')
  t.regex(output, /^Hello from a guest on KVM\.\n[^]*Goodbye\.\n$/)
  t.is(bytes.toString(), output)
  t.true((counters.exits.io ?? 0) > 0)
  t.deepEqual(warnings, [])
  t.deepEqual(await settled(before), before)
})

test('run() loses no byte of the output, however often', async t => {
  for (let round = 0; round < 20; round++) {
    const { reason, status, bytes } = await run(writes(3000))
    t.deepEqual({ reason, status, length: bytes.length }, { reason: 'debug-exit', status: 1, length: 3000 })
  }
})

test('an abort between the creation and the start gives reason aborted', async t => {
  const aborter = new AbortController()
  const start = Object.getOwnPropertyDescriptor(Machine.prototype, 'start')?.value as () => Promise<void>
  t.teardown(() => Object.assign(Machine.prototype, { start }))
  Object.assign(Machine.prototype, {
    start(this: Machine) {
      if (this.name === 'aborted early') aborter.abort('enough')
      return start.call(this)
    },
  })
  const options = { kernel: guestImage('spin'), memory: '16M', name: 'aborted early', signal: aborter.signal }
  t.like(await run(options), { reason: 'aborted', cause: 'enough', output: '' })
})

test('run() without options fails with the options that are missing', async t => {
  for (const options of [null, undefined, {}]) {
    await t.throwsAsync(run(options as never), { code: 'ERR_MACHINE_CONFIG', message: /'kernel'.*missing/ })
  }
})

test('run() ends a guest at its time limit, at its output limit and at an abort', async t => {
  const before = await baseline()
  const spinning = await run({ kernel: guestImage('spin'), memory: '16M', timeout: 200 })
  t.is(spinning.reason, 'timeout')
  const flooding = await run({ ...writes(0xffff), maxOutput: 1000 })
  t.is(flooding.reason, 'max-output')
  t.is(flooding.output, 'x'.repeat(1000))
  // The whole output is no more than the limit.
  t.is((await run({ ...writes(1000), maxOutput: 1000 })).reason, 'debug-exit')
  const reason = new Error('enough')
  const controller = new AbortController()
  setTimeout(() => controller.abort(reason), 200)
  const aborted = await run({ kernel: guestImage('spin'), memory: '16M', signal: controller.signal })
  t.is(aborted.reason, 'aborted')
  t.is(aborted.cause, reason)
  t.is(await t.throwsAsync(run({ kernel: guestImage('spin'), signal: controller.signal })), reason)
  t.deepEqual(await settled(before), before)
})

test('run() ends a machine that stops for inspection, and reports why', async t => {
  const kept = await run({ ...writes(1), noShutdown: true })
  t.is(kept.reason, 'debug-exit')
  const failed = await run({ kernel: guestImage('emulation-failure'), memory: '16M', noReboot: true })
  // A host that runs ring 0 natively has no such failure.
  if (failed.reason === 'guest-reset') return
  t.is(failed.reason, 'internal-error')
  t.regex(failed.report ?? '', /RIP=/)
})

test('run() without capture leaves the serial ports to their options', async t => {
  const { output, reason } = await run({ ...writes(10), serial: 'null', capture: false })
  t.deepEqual({ output, reason }, { output: '', reason: 'debug-exit' })
})

const refused: readonly (readonly [CaptureOptions & MachineOptions, RegExp])[] = [
  [{ serial: 'null' }, /'capture': the target of COM1 is given/],
  [{ serials: [null] }, /'capture': the target of COM1 is given/],
  [{ timeout: 0 }, /0 for machine option 'timeout': expected a whole number of milliseconds from 1/],
  [{ maxOutput: -1 }, /-1 for machine option 'maxOutput'/],
  [{ capture: 'yes' as never }, /'yes' for machine option 'capture': expected a boolean/],
  [{ maxOuptut: 5 } as never, /unknown machine option 'maxOuptut'\. Did you mean 'maxOutput'\?/],
]

for (const [options, message] of refused) {
  test(`run() refuses ${JSON.stringify(options)}`, async t => {
    await t.throwsAsync(run({ ...writes(1), ...options }), { code: 'ERR_MACHINE_CONFIG', message })
  })
}

test('a program talks to its guest by expect() and lines()', async t => {
  await using machine = await Machine.create({
    kernel: guestImage('serial-echo'),
    memory: '16M',
    serial: 'stream',
    noReboot: true,
  })
  const { serial } = machine
  await machine.start()
  await serial.expect('serial-echo\n')
  serial.write('ping ')
  t.is((await serial.expect(/p(..)g/)).groups[0], 'in')
  serial.write('line 1\nline 2\nq')
  const lines: string[] = []
  for await (const line of serial.lines()) lines.push(line)
  t.deepEqual(lines, [' line 1', 'line 2', 'q', 'serial-echo: done'])
  t.is((await machine.wait()).reason, 'guest-reset')
})

test('expect() on a port without output to read fails at once with the reason', async t => {
  await using machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M', serial: 'null' })
  await machine.start()
  const { problem, remedy } = await t.throwsAsync(machine.serial.expect('x'), { code: 'ERR_EXPECT' }) as Error & { problem: string; remedy: string } // prettier-ignore
  t.is(problem, 'ended')
  t.regex(remedy, /'stream'/)
})

onLinux('a channel of a console has expect() and lines()', async t => {
  t.timeout(300_000)
  const script = `
exec 3<>/dev/vport0p1
echo "name?" >&3
read -r name <&3
echo "hello $name" >&3
echo "bye" >&3
read -r rest <&3`
  await using machine = await Machine.create({
    ...linuxGuest(script),
    serial: 'null',
    consoles: [{ target: 'stream', name: 'org.example.agent' }],
  })
  const [agent] = machine.consoles
  await machine.start()
  await agent?.expect('name?\n', { timeout: 300_000 })
  agent?.write('Ada\n')
  const lines: string[] = []
  for await (const line of agent?.lines() ?? []) {
    lines.push(line)
    if (line === 'bye') break
  }
  t.deepEqual(lines, ['hello Ada', 'bye'])
})
