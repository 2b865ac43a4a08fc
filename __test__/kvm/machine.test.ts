import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Machine, MachineStateError, guestImage, type Exit, type MachineOptions, type NotifyEvent } from 'kvm-accel'
import { scratch } from '../helpers/paths.js'
import { kvm, requires, skips } from '../helpers/requires.js'

const test = requires(kvm)

const make = (guest: string, options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage(guest), memory: '16M', noReboot: true, ...options })

const using = async (machine: Machine, body: (machine: Machine) => Promise<void>): Promise<void> => {
  try {
    await body(machine)
  } finally {
    await machine.stop()
  }
}

const spin = async (body: (machine: Machine) => Promise<void>, options: Partial<MachineOptions> = {}): Promise<void> =>
  using(await make('spin', options), async machine => {
    await machine.start()
    await body(machine)
  })

test('a guest prints, resets itself, and its machine ends', async t => {
  const machine = await make('hello', { serial: 'stream' })
  const states: string[] = []
  machine.on('resume', () => states.push(`resume ${machine.state}`))
  machine.on('stop', ({ state }) => states.push(`stop ${state}`))
  machine.on('shutdown', ({ reason }) => states.push(`shutdown ${reason}`))
  t.is(machine.state, 'prelaunch')
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) text += String(chunk)
  t.deepEqual(await machine.wait(), { reason: 'guest-reset' } satisfies Exit)
  t.regex(text, /Hello from a guest/)
  t.deepEqual(states, ['resume running', 'stop shutdown', 'shutdown guest-reset'])
  t.true((machine.counters().exits['io'] ?? 0) > text.length)
})

test('both image formats boot, from bytes and from a file', async t => {
  for (const format of ['pvh', 'multiboot'] as const) {
    const file = join(scratch(), `serial-${format}`)
    const machine = await make('hello', { kernel: guestImage('hello', { format }), serial: { file } })
    await machine.start()
    t.is((await machine.wait()).reason, 'guest-reset')
    await machine.stop()
    t.regex(readFileSync(file, 'utf8'), /Hello from a guest/)
  }
})

test('isa-debug-exit ends the machine with QEMU’s exit status', async t => {
  const machine = await make('debug-exit', { debugExit: { iobase: 0xf4, iosize: 4 }, append: 'value=5' })
  await using(machine, async () => {
    await machine.start()
    t.deepEqual(await machine.wait(), { reason: 'debug-exit', status: (5 << 1) | 1 })
  })
})

test('a flat image starts in real mode at 0x1000', async t => {
  const image = Uint8Array.of(0xb0, 0x07, 0xe6, 0xf4) // mov al, 7; out 0xf4, al
  await using(
    await make('spin', { kernel: image, kernelFormat: 'flat', debugExit: { iobase: 0xf4, iosize: 4 } }),
    async machine => {
      await machine.start()
      t.is((await machine.wait()).status, 15)
    },
  )
})

test('pause, resume and reset follow the run states, and a forbidden call names the allowed states', async t => {
  await spin(async machine => {
    t.is(machine.state, 'running')
    const refused = await t.throwsAsync(machine.resume(), { instanceOf: MachineStateError, code: 'ERR_MACHINE_STATE' })
    t.deepEqual(refused?.allowed, ['prelaunch', 'paused', 'debug', 'guest-panicked'])
    await machine.pause()
    t.is(machine.state, 'paused')
    await t.throwsAsync(machine.pause(), { code: 'ERR_MACHINE_STATE' })
    await t.throwsAsync(() => machine.injectNotify(), { code: 'ERR_MACHINE_STATE' })
    await machine.resume()
    await Promise.all([machine.pause(), machine.pause()])
    t.is(machine.state, 'paused')
    await machine.reset()
    t.is(machine.state, 'prelaunch')
    await machine.start()
    await machine.reset()
    t.is(machine.state, 'running')
  })
})

test('a machine that has ended refuses everything but stop', async t => {
  const machine = await make('spin')
  await machine.stop()
  await machine.stop()
  t.is(machine.state, 'shutdown')
  t.deepEqual(await machine.wait(), { reason: 'host-quit' })
  for (const call of [() => machine.start(), () => machine.pause(), () => machine.resume(), () => machine.reset()]) {
    await t.throwsAsync(call(), { code: 'ERR_MACHINE_STATE', message: /ended/ })
  }
})

test('a guest that resets itself runs again, and each reset emits an event', async t => {
  const machine = await make('reboot-loop', { noReboot: false })
  await using(machine, async () => {
    let resets = 0
    const three = new Promise<void>(resolve => {
      machine.on('reset', ({ guest }) => {
        t.true(guest)
        if (++resets === 3) resolve()
      })
    })
    await machine.start()
    await three
    t.is(machine.state, 'running')
  })
})

test('noShutdown keeps a machine that ended, and a reset runs it again', async t => {
  await using(await make('hello', { noShutdown: true }), async machine => {
    for (let run = 0; run < 2; run++) {
      await machine.start()
      t.is((await machine.wait()).reason, 'guest-reset')
      t.is(machine.state, 'shutdown')
      await t.throwsAsync(machine.resume(), { code: 'ERR_MACHINE_STATE' })
      await machine.reset()
      t.is(machine.state, 'prelaunch')
    }
  })
})

test('the drill under run warns once and emits an event for every exit', async t => {
  await spin(async machine => {
    const events: NotifyEvent[] = []
    const warnings: string[] = []
    machine.on('warning', ({ code }) => warnings.push(code))
    for (let n = 1; n <= 3; n++) {
      const [[event]] = (await Promise.all([once(machine, 'notify'), machine.injectNotify({ vcpu: 0 })])) as [
        [NotifyEvent],
        void,
      ]
      events.push(event)
    }
    await machine.pause()
    t.deepEqual(
      events.map(({ vcpu, contextInvalid, resumed, total, injected, dropped }) => ({
        vcpu,
        contextInvalid,
        resumed,
        total,
        injected,
        dropped,
      })),
      [
        { vcpu: 0, contextInvalid: false, resumed: true, total: 1, injected: true, dropped: 0 },
        { vcpu: 0, contextInvalid: false, resumed: true, total: 2, injected: true, dropped: 0 },
        { vcpu: 0, contextInvalid: false, resumed: true, total: 3, injected: true, dropped: 0 },
      ],
    )
    t.true(
      events.every(
        ({ rip, registers, instruction }) => rip === registers.rip && rip >= 0x10_0000n && instruction !== '',
      ),
    )
    t.deepEqual(warnings, ['NOTIFY_EXIT'])
    t.is(machine.accel.notify.total, 3)
  })
})

test('the drill under internal-error stops the machine with registers and the reason, and after a reset it runs again', async t => {
  await spin(
    async machine => {
      await machine.injectNotify()
      const exit = await machine.wait()
      t.is(exit.reason, 'internal-error')
      t.is(machine.state, 'internal-error')
      t.regex(exit.detail ?? '', /with valid context.*KVM internal error/)
      t.regex(exit.report ?? '', /^RAX=[\s\S]*RIP=[\s\S]*Code=</)
      await t.throwsAsync(machine.resume(), { code: 'ERR_MACHINE_STATE' })
      await machine.reset()
      await machine.start()
      t.is(machine.state, 'running')
    },
    { accel: 'kvm,notify-vmexit=internal-error' },
  )
})

test('an invalid context is fatal under run, and the message names it', async t => {
  await spin(async machine => {
    await machine.injectNotify({ contextInvalid: true })
    t.regex((await machine.wait()).detail ?? '', /with invalid context/)
  })
})

test('notify-budget makes run behave as internal-error once it is exceeded', async t => {
  await spin(
    async machine => {
      const resumed: boolean[] = []
      machine.on('notify', event => resumed.push(event.resumed))
      for (let n = 0; n < 3; n++) await machine.injectNotify()
      t.regex((await machine.wait()).detail ?? '', /notify-budget/)
      t.deepEqual(resumed, [true, true, false])
    },
    { accel: { notifyBudget: '2/60' } },
  )
})

test('the drill refuses an unknown vCPU', async t => {
  await spin(async machine => {
    await t.throwsAsync(() => machine.injectNotify({ vcpu: 1 }), {
      code: 'ERR_ARGUMENT',
      message: /invalid vcpu 1: expected a number from 0 to 0/,
    })
    await t.throwsAsync(() => machine.injectNotify({ vcpu: -1 }), { code: 'ERR_ARGUMENT' })
  })
})

test('a host without notify exits: no message by default, one warning for a policy, an error if required', async t => {
  const warnings = async (accel: string): Promise<string[]> => {
    const codes: string[] = []
    await using(await make('spin', { accel }), async machine => {
      machine.on('warning', ({ code }) => codes.push(code))
      await sleep(20)
      const { supported, enabled } = machine.accel.notify
      t.is(enabled, supported && !accel.includes('disable'))
    })
    return codes
  }
  t.deepEqual(await warnings('kvm'), [])
  t.deepEqual(await warnings('kvm,notify-vmexit=disable,notify-window=5'), [])
  const probe = await make('spin')
  const { supported } = probe.accel.notify
  await probe.stop()
  if (supported) return skips(t, 'a host without notify exits')
  t.deepEqual(await warnings('kvm,notify-window=0'), ['NOTIFY_UNSUPPORTED'])
  await t.throwsAsync(make('spin', { accel: 'kvm,notify-required=on' }), { code: 'ERR_NOTIFY_UNSUPPORTED' })
})

test('two vCPUs run between pauses, and a drill selects the second by its index', async t => {
  await spin(
    async machine => {
      for (let n = 0; n < 10; n++) {
        await machine.pause()
        await machine.resume()
      }
      const [[event]] = (await Promise.all([once(machine, 'notify'), machine.injectNotify({ vcpu: 1 })])) as [
        [NotifyEvent],
        void,
      ]
      t.is(event.vcpu, 1)
      t.deepEqual(machine.counters().notify, [0, 1])
    },
    { cpus: 2 },
  )
})

test('kernel-irqchip=split runs a guest that polls', async t => {
  const machine = await make('hello', { accel: 'kvm,kernel-irqchip=split', serial: 'stream' })
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) text += String(chunk)
  t.regex(text, /Hello/)
})

test('many machines live in one process', async t => {
  const machines = await Promise.all(Array.from({ length: 20 }, () => make('hello', { serial: 'stream' })))
  await Promise.all(machines.map(machine => machine.start()))
  for (const machine of machines) {
    let text = ''
    for await (const chunk of machine.serial) text += String(chunk)
    t.regex(text, /Goodbye/)
    t.is((await machine.wait()).reason, 'guest-reset')
  }
})
