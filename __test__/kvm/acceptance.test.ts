// Tests the scenarios of docs/explanation/proof.md that no other file tests.

import { setTimeout as sleep } from 'node:timers/promises'
import { KVM_EXIT_HLT, KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_IRQ_WINDOW_OPEN } from 'kvm-accel/kvm'
import { Machine, MachineStateError, guestImage, type MachineOptions } from 'kvm-accel'
import { kvm, requires } from '../helpers/requires.js'
import { ENTRY, SPIN, tinyGuest } from '../helpers/tiny-guest.js'

const test = requires(kvm)

test('port I/O is completed by the next entry: until then the registers are unchanged', t => {
  // mov al, 7; in al, 0x10; out 0x11, al; hlt
  const { vcpu, run } = tinyGuest([0xb0, 7, 0xe4, 0x10, 0xe6, 0x11, 0xf4])
  const page = new Uint8Array(vcpu.runPage)
  t.is(vcpu.run(), KVM_EXIT_IO)
  page[run.io.dataOffset] = 0x5a
  t.is(vcpu.getRegs().rax & 0xffn, 7n)
  // An entry that executes nothing.
  run.immediateExit = 1
  t.is(vcpu.run(), KVM_EXIT_INTR)
  t.is(vcpu.getRegs().rax & 0xffn, 0x5an)
  t.is(vcpu.getRegs().rip, BigInt(ENTRY + 4))
  t.is(vcpu.run(), KVM_EXIT_IO)
  t.is(page[run.io.dataOffset], 0x5a)
  run.immediateExit = 1
  t.is(vcpu.run(), KVM_EXIT_INTR)
  t.is(vcpu.getRegs().rip, BigInt(ENTRY + 6))
  t.is(vcpu.run(), KVM_EXIT_HLT)
})

test('without an irqchip a guest that disabled interrupts exits when it can take an interrupt again', t => {
  // out 0x11, al; sti; jmp $, and a handler at 0x3000: out 0x33, al
  const { vcpu, run, ram } = tinyGuest([0xe6, 0x11, 0xfb, ...SPIN])
  ram.set([0xe6, 0x33, 0xf4], 0x3000)
  ram.set([0x00, 0x30, 0, 0], 0x20 * 4)
  t.is(vcpu.run(), KVM_EXIT_IO)
  t.is(run.ifFlag, 0)
  run.requestInterruptWindow = 1
  t.is(vcpu.run(), KVM_EXIT_IRQ_WINDOW_OPEN)
  t.is(run.readyForInterruptInjection, 1)
  run.requestInterruptWindow = 0
  vcpu.interrupt(0x20)
  t.is(vcpu.run(), KVM_EXIT_IO)
  t.is(run.io.port, 0x33)
})

const make = (options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage('spin'), memory: '16M', ...options })

/** Records the events of a machine, each with the run state at that moment. */
const listen = (machine: Machine): string[] => {
  const events: string[] = []
  machine.on('resume', () => events.push(`resume ${machine.state}`))
  machine.on('stop', ({ state }) => events.push(`stop ${state}`))
  machine.on('reset', ({ guest }) => events.push(`reset guest=${guest}`))
  machine.on('shutdown', ({ reason }) => events.push(`shutdown ${reason}`))
  return events
}

test('the event of an operation is emitted before its promise resolves', async t => {
  await using machine = await make()
  const events = listen(machine)
  const steps: readonly (readonly [string, () => Promise<unknown>, readonly string[]])[] = [
    ['start', () => machine.start(), ['resume running']],
    ['pause', () => machine.pause(), ['stop paused']],
    ['resume', () => machine.resume(), ['resume running']],
    ['reset of a running machine', () => machine.reset(), ['reset guest=false']],
    ['pause', () => machine.pause(), ['stop paused']],
    ['reset of a paused machine', () => machine.reset(), ['reset guest=false']],
    ['start', () => machine.start(), ['resume running']],
    ['stop', () => machine.stop(), ['stop shutdown', 'shutdown host-quit']],
  ]
  for (const [what, call, expected] of steps) {
    await call()
    t.deepEqual(events.splice(0), expected, what)
  }
})

test('an instruction that KVM cannot emulate stops the machine, and only a reset continues it', async t => {
  await using machine = await make({ kernel: guestImage('emulation-failure'), noReboot: true, noShutdown: true })
  const events = listen(machine)
  for (const round of [1, 2]) {
    await machine.start()
    const exit = await machine.wait()
    // A host that runs ring 0 natively has no such failure.
    if (exit.reason === 'guest-reset') return void t.pass('the host runs x87 in ring 0')
    t.is(exit.reason, 'internal-error')
    t.is(machine.state, 'internal-error')
    t.regex(exit.detail ?? '', /suberror 1/)
    t.regex(exit.report ?? '', /^RAX=[\s\S]*RIP=[\s\S]*Code=.*<d9> e8/m)
    t.deepEqual(events.splice(0), ['resume running', 'stop internal-error'])
    const refused = await t.throwsAsync(machine.resume(), { instanceOf: MachineStateError })
    t.regex(refused?.remedy ?? '', /reset\(\)/)
    await machine.reset()
    t.is(machine.state, 'prelaunch', `round ${round}`)
    t.deepEqual(events.splice(0), ['reset guest=false'])
  }
})

/**
 * Real-mode code at 0x1000 with about a thousand PIT interrupts per second. Each interrupt adds 1
 * to bx. The code counts in cx, from LOOP on.
 */
const ticking = Uint8Array.of(
  ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0], // xor ax, ax; mov ds, ax; mov ss, ax
  ...[0xbc, 0x00, 0x0f], // mov sp, 0xf00
  ...[0xc7, 0x06, 0x20, 0x00, 0x42, 0x10], // mov word [0x20], handler
  ...[0xc7, 0x06, 0x22, 0x00, 0x00, 0x00], // mov word [0x22], 0
  ...[0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21], // PIC: initialise, vectors from 8
  ...[0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21], // a second one at line 2, 8086 mode
  ...[0xb0, 0xfe, 0xe6, 0x21], // only the timer
  ...[0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x00, 0xe6, 0x40, 0xb0, 0x08, 0xe6, 0x40], // PIT: rate generator, 2048
  ...[0x31, 0xdb, 0x31, 0xc9], // xor bx, bx; xor cx, cx
  ...[0xfb, 0xe6, 0x80, 0x90], // sti; out 0x80, al; nop
  ...[0x41, 0xeb, 0xfd, 0x90, 0x90], // loop: inc cx; jmp loop
  ...[0x43, 0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf], // handler: inc bx; push ax; mov al, 0x20; out 0x20, al; pop ax; iret
)
const LOOP = [0x103dn, 0x103en]

test('a step takes no pending interrupt, and a resumed guest takes them', async t => {
  await using machine = await make({ kernel: ticking, kernelFormat: 'flat', memory: '1M' })
  const registers = async () => {
    const { rip, rbx } = (await machine.vcpus[0]!.state()).general
    return { rip, ticks: rbx & 0xffffn }
  }
  const runUntilTick = async (): Promise<bigint> => {
    const before = (await registers()).ticks
    for (;;) {
      await machine.resume()
      await sleep(20)
      await machine.pause()
      const { rip, ticks } = await registers()
      if (ticks !== before && LOOP.includes(rip)) return ticks
    }
  }
  const ticks = await runUntilTick()
  await sleep(20)
  for (let step = 0; step < 20; step++) {
    const { rip } = (await machine.debug.step()) ?? {}
    t.true(rip !== undefined && LOOP.includes(rip), `step ${step} is at ${rip}`)
  }
  t.is((await registers()).ticks, ticks)
  t.not(await runUntilTick(), ticks)
})
