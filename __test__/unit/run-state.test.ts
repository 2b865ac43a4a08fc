import test from 'ava'
import { MachineStateError } from '../../ts/errors/index.js'
import { ended, transition, type GuestEvent, type Operation, type RunState } from '../../ts/machine/run-state.js'

const states = ['prelaunch', 'running', 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'] as const

/** What each operation leads to, in the order of `states`; null is refused. */
const operations: Record<Operation, readonly (RunState | null)[]> = {
  addDevice: ['prelaunch', null, null, null, null, null, null],
  start: ['running', null, null, null, null, null, null],
  resume: ['running', null, 'running', 'running', 'running', null, null],
  pause: [null, 'paused', null, null, null, null, null],
  injectNmi: ['prelaunch', 'running', 'paused', 'debug', null, null, null],
  injectNotify: [null, 'running', null, null, null, null, null],
  'vcpu.state': ['prelaunch', null, 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'],
  'vcpu.setState': ['prelaunch', null, 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'],
  reset: ['prelaunch', 'running', 'prelaunch', 'prelaunch', 'prelaunch', 'prelaunch', 'prelaunch'],
  stop: ['shutdown', 'shutdown', 'shutdown', 'shutdown', 'shutdown', 'shutdown', 'shutdown'],
  'debug.step': ['running', null, 'running', 'running', 'running', null, null],
  'debug.insertBreakpoint': ['prelaunch', null, 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'],
  'debug.removeBreakpoint': ['prelaunch', null, 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'],
  'debug.clear': ['prelaunch', null, 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'],
  'debug.readMemory': ['prelaunch', null, 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'],
  'debug.writeMemory': ['prelaunch', null, 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'],
}

for (const [operation, row] of Object.entries(operations) as [Operation, readonly (RunState | null)[]][]) {
  const allowed = states.filter((_, index) => row[index] !== null)
  states.forEach((state, index) => {
    const next = row[index]
    test(`${operation} in ${state}: ${next ?? 'refused'}`, t => {
      if (next) return t.is(transition(state, operation), next)
      const error = t.throws(() => transition(state, operation), {
        instanceOf: MachineStateError,
        code: 'ERR_MACHINE_STATE',
      })
      t.is(error?.state, state)
      t.deepEqual(error?.allowed, allowed)
      for (const name of allowed) t.regex(error?.message ?? '', new RegExp(name))
      return t.true((error?.remedy ?? '').length > 0)
    })
  })
}

test('cont after an internal error needs a reset, as in QEMU', t => {
  const error = t.throws(() => transition('internal-error', 'resume'), { instanceOf: MachineStateError })
  t.regex(error?.remedy ?? '', /reset\(\)/)
  t.is(transition(transition('internal-error', 'reset'), 'resume'), 'running')
})

for (const [event, next] of [
  ['guest-shutdown', 'shutdown'],
  ['guest-panicked', 'guest-panicked'],
  ['debug-exit', 'shutdown'],
  ['internal-error', 'internal-error'],
  ['debug', 'debug'],
  ['guest-reset', 'running'],
] as const satisfies readonly (readonly [GuestEvent, RunState])[]) {
  test(`a running guest's ${event} leads to ${next}`, t => t.is(transition('running', event), next))
}

test('a machine that has ended says that nothing leads on', t => {
  const error = ended('shutdown', 'resume')
  t.deepEqual([error.code, error.state, error.allowed], ['ERR_MACHINE_STATE', 'shutdown', []])
})
