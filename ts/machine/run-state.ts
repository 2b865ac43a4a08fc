import { MachineStateError } from '../errors/machine-state-error.js'
import { either } from '../errors/suggest.js'

/**
 * QEMU's run states, as far as a machine of this package can reach them:
 * - `prelaunch`: made or reset, and not started;
 * - `running`: the vCPUs run;
 * - `paused`: by {@link Machine.pause};
 * - `debug`: at a breakpoint or a watchpoint, or after a step;
 * - `guest-panicked`: the guest's kernel told `pvpanic` of a panic, under `noShutdown`;
 * - `internal-error`: a vCPU met what the accelerator cannot handle, or a notify exit under `internal-error`;
 * - `shutdown`: the guest shut down, or the machine was stopped.
 */
export type RunState = 'prelaunch' | 'running' | 'paused' | 'debug' | 'guest-panicked' | 'internal-error' | 'shutdown'

/** What a user can do to a machine. */
export type Operation =
  | 'addDevice'
  | 'start'
  | 'pause'
  | 'resume'
  | 'reset'
  | 'stop'
  | 'injectNmi'
  | 'injectNotify'
  | 'vcpu.state'
  | 'vcpu.setState'
  | 'debug.step'
  | 'debug.insertBreakpoint'
  | 'debug.removeBreakpoint'
  | 'debug.clear'
  | 'debug.readMemory'
  | 'debug.writeMemory'

/** What a guest can do to its machine. A reset under `noReboot` is a `guest-shutdown`. */
export type GuestEvent = 'guest-shutdown' | 'guest-panicked' | 'guest-reset' | 'debug-exit' | 'internal-error' | 'debug'

const ANY: readonly RunState[] = [
  'prelaunch',
  'running',
  'paused',
  'debug',
  'guest-panicked',
  'internal-error',
  'shutdown',
]
const RESUMABLE: readonly RunState[] = ['prelaunch', 'paused', 'debug', 'guest-panicked']
const STOPPED: readonly RunState[] = ANY.filter(state => state !== 'running')

/**
 * | operation | allowed in | leads to |
 * |---|---|---|
 * | addDevice | prelaunch | prelaunch |
 * | start | prelaunch | running |
 * | resume | prelaunch, paused, debug, guest-panicked | running |
 * | debug.step | prelaunch, paused, debug, guest-panicked | running |
 * | pause | running | paused |
 * | injectNmi | prelaunch, running, paused, debug | the same |
 * | injectNotify | running | running |
 * | vcpu.state, vcpu.setState, debug.* | all but running | the same |
 * | reset | any | running stays running, any other becomes prelaunch |
 * | stop | any | shutdown |
 *
 * As QEMU's `cont`, resume is refused in internal-error and shutdown: a reset comes first.
 */
const operations: Record<
  Operation,
  { readonly from: readonly RunState[]; readonly to: (state: RunState) => RunState }
> = {
  addDevice: { from: ['prelaunch'], to: () => 'prelaunch' },
  start: { from: ['prelaunch'], to: () => 'running' },
  resume: { from: RESUMABLE, to: () => 'running' },
  'debug.step': { from: RESUMABLE, to: () => 'running' },
  pause: { from: ['running'], to: () => 'paused' },
  injectNmi: { from: ['prelaunch', 'running', 'paused', 'debug'], to: state => state },
  injectNotify: { from: ['running'], to: () => 'running' },
  'vcpu.state': { from: STOPPED, to: state => state },
  'vcpu.setState': { from: STOPPED, to: state => state },
  'debug.insertBreakpoint': { from: STOPPED, to: state => state },
  'debug.removeBreakpoint': { from: STOPPED, to: state => state },
  'debug.clear': { from: STOPPED, to: state => state },
  'debug.readMemory': { from: STOPPED, to: state => state },
  'debug.writeMemory': { from: STOPPED, to: state => state },
  reset: { from: ANY, to: state => (state === 'running' ? 'running' : 'prelaunch') },
  stop: { from: ANY, to: () => 'shutdown' },
}

/** A guest acts only while it runs; what it did just before a pause or a reset still counts as QEMU counts it. */
const guestEvents: Record<GuestEvent, (state: RunState) => RunState> = {
  'guest-shutdown': () => 'shutdown',
  'guest-panicked': () => 'guest-panicked',
  'debug-exit': () => 'shutdown',
  'internal-error': () => 'internal-error',
  debug: () => 'debug',
  'guest-reset': state => state,
}

/**
 * The run state after an operation or a guest's event. Pure.
 *
 * @throws {@link MachineStateError} when the state forbids the operation.
 */
export function transition(state: RunState, event: Operation | GuestEvent): RunState {
  if (!isOperation(event)) return guestEvents[event](state)
  const { from, to } = operations[event]
  if (from.includes(state)) return to(state)
  const message = `${event}() is not possible in run state '${state}': it needs ${either(from)}`
  throw new MachineStateError(message, { state, allowed: from, remedy: wayOut(state, event) })
}

/** What a machine whose resources are gone answers to any operation but stop(). */
export function ended(state: RunState, operation: string): MachineStateError {
  const message = `${operation}() is not possible: the machine has ended`
  return new MachineStateError(message, { state, allowed: [], remedy: 'Make a new one with Machine.create().' })
}

function isOperation(event: Operation | GuestEvent): event is Operation {
  return Object.hasOwn(operations, event)
}

function wayOut(state: RunState, operation: Operation): string {
  if (operation === 'addDevice') return 'Add devices before start(), or after a reset() of a machine that does not run.'
  if (state === 'internal-error' || state === 'shutdown') return 'Call reset() first, then start() or resume().'
  if (state === 'running' && /^(vcpu|debug)\./.test(operation)) return 'Call pause() first.'
  if (state === 'running') return 'Call pause() first to go on later, or reset() to begin anew.'
  return operation === 'start' ? 'Call resume() to go on.' : 'Call resume() first.'
}
