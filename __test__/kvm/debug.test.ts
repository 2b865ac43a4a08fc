import { once } from 'node:events'
import {
  BreakpointError,
  GuestMemoryError,
  Machine,
  MachineStateError,
  guestImage,
  type Breakpoint,
  type BreakpointProblem,
  type DebugEvent,
  type MachineOptions,
} from 'kvm-accel'
import { emulated } from '../helpers/paths.js'
import { kvm, requires, skips } from '../helpers/requires.js'

const test = requires(kvm)

/** Real-mode code at 0x1000: `inc ax` four times, `out 0xf4, al`, `jmp .`. */
const code = Uint8Array.of(0x40, 0x40, 0x40, 0x40, 0xe6, 0xf4, 0xeb, 0xfe)

const flat = (options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({
    kernel: code,
    kernelFormat: 'flat',
    memory: '1M',
    debugExit: { iobase: 0xf4, iosize: 4 },
    ...options,
  })

test('a step executes one instruction and emits an event, and a resume continues', async t => {
  await using machine = await flat()
  t.true(machine.debug.supported)
  const events: string[] = []
  machine.on('resume', () => events.push(`resume ${machine.state}`))
  machine.on('stop', ({ state }) => events.push(`stop ${state}`))
  machine.on('debug', ({ reason, rip }) => events.push(`${reason} 0x${rip.toString(16)}`))
  for (const rip of [0x1001n, 0x1002n]) {
    t.deepEqual(await machine.debug.step(), { vcpu: 0, reason: 'step', address: rip, rip })
  }
  t.is(machine.state, 'debug')
  t.is((await machine.vcpus[0]!.state()).general.rax, 2n)
  t.deepEqual(events, ['resume running', 'stop debug', 'step 0x1001', 'resume running', 'stop debug', 'step 0x1002'])
  await machine.resume()
  t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: 9 })
  await t.throwsAsync(machine.debug.step(), { instanceOf: MachineStateError })
})

test('a step of one vCPU does not move the others', async t => {
  await using machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M', cpus: 2 })
  const other = (await machine.vcpus[1]!.state()).general
  const stop = await machine.debug.step(0)
  t.like(stop, { vcpu: 0, reason: 'step' })
  t.deepEqual((await machine.vcpus[1]!.state()).general, other)
  await machine.resume()
  await machine.pause()
  t.is(machine.state, 'paused')
  // A vCPU that waits for INIT executes no instruction. A pause ends the wait.
  const waiting = machine.debug.step(1)
  await machine.pause()
  t.is(await waiting, undefined)
  await machine.reset()
  t.is(machine.state, 'prelaunch')
})

test('an execute breakpoint stops the machine before its instruction', async t => {
  if (emulated) return skips(t, 'execute breakpoints from outside')
  await using machine = await flat()
  const breakpoint: Breakpoint = { type: 'hardware', address: 0x1003 }
  await machine.debug.insertBreakpoint(breakpoint)
  const debug = once(machine, 'debug') as Promise<[DebugEvent]>
  await machine.start()
  t.deepEqual((await debug)[0], { vcpu: 0, reason: 'breakpoint', address: 0x1003n, rip: 0x1003n })
  t.is(machine.state, 'debug')
  t.is((await machine.vcpus[0]!.state()).general.rax, 3n)
  t.like(await machine.debug.step(), { reason: 'step', rip: 0x1004n })
  await machine.debug.removeBreakpoint(breakpoint)
  await machine.resume()
  t.is((await machine.wait()).reason, 'debug-exit')
})

test('an invalid breakpoint is an error with its problem', async t => {
  await using machine = await flat()
  const { debug } = machine
  const refused = async (breakpoint: unknown, problem: BreakpointProblem, remove = false): Promise<void> => {
    const call = remove
      ? debug.removeBreakpoint(breakpoint as Breakpoint)
      : debug.insertBreakpoint(breakpoint as Breakpoint)
    const error = await t.throwsAsync(call, { instanceOf: BreakpointError, code: 'ERR_BREAKPOINT' })
    t.is(error?.problem, problem, error?.message)
    t.true((error?.remedy ?? '').length > 0)
  }
  await refused({ type: 'read', address: 0 }, 'unsupported')
  await refused({ type: 'write', address: 0x2000, length: 3 }, 'length')
  await refused({ type: 'access', address: 0x2001, length: 4 }, 'alignment')
  await refused({ type: 'software', address: 0x4000_0000 }, 'unreachable')
  await refused({ type: 'software', address: 0x1000 }, 'unknown', true)
  for (const address of [0x2000, 0x2008, 0x2010, 0x2018]) {
    await debug.insertBreakpoint({ type: 'access', address, length: 8 })
  }
  await refused({ type: 'access', address: 0x2000, length: 8 }, 'exists')
  await refused({ type: 'hardware', address: 0x1000 }, 'too-many')
  await debug.clear()
  await debug.insertBreakpoint({ type: 'software', address: 0x1000n })
  t.deepEqual([...(await debug.readMemory(0x1000, 2))], [0xcc, 0x40])
  await debug.clear()
  t.deepEqual([...(await debug.readMemory(0x1000n, 8))], [...code])
  await t.throwsAsync(debug.insertBreakpoint({ type: 'hardware', address: -1 }), { code: 'ERR_ARGUMENT' })
  await t.throwsAsync(debug.step(1), { code: 'ERR_ARGUMENT', message: /invalid vcpu 1: expected a number from 0 to 0/ })
})

test('guest memory is read and written while the machine does not run', async t => {
  await using machine = await flat()
  const { debug } = machine
  await debug.writeMemory(0x1003, Uint8Array.of(0x90))
  t.deepEqual([...(await debug.readMemory(0x1002n, 2, { physical: true }))], [0x40, 0x90])
  const error = await t.throwsAsync(debug.readMemory(0xffff0, 32), { instanceOf: GuestMemoryError })
  t.deepEqual([error?.code, error?.address], ['ERR_GUEST_MEMORY', 0x100000n])
  await t.throwsAsync(debug.readMemory(0, -1), { code: 'ERR_ARGUMENT' })
  await machine.start()
  t.is((await machine.wait()).status, 7, 'three increments are left')
})

test('debugging a running machine is an error', async t => {
  await using machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M' })
  await machine.start()
  const { debug } = machine
  for (const call of [debug.step(), debug.clear(), debug.readMemory(0, 1)]) {
    const error = await t.throwsAsync(call, { instanceOf: MachineStateError })
    t.is(error?.remedy, 'Call pause() first.')
  }
})
