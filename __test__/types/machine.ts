// The types of a machine and its events. Compiled, never run.

import type { Duplex, Writable } from 'node:stream'
import {
  Machine,
  type Exit,
  type MachineAccel,
  type MachineDevice,
  type MachineEventMap,
  type MachineOptions,
  type MemoryOptions,
  type MachineCounters,
  type MachineWarning,
  type NotifyEvent,
  type NotifyStatus,
  type RunState,
  type SerialTarget,
  type SocketTarget,
  type StopEvent,
  type WarningCode,
} from 'kvm-accel'
import type { Equal, Expect, WritableKeys } from './expect.js'

type RequiredKeys<T> = { [K in keyof T]-?: object extends Pick<T, K> ? never : K }[keyof T]

export type Options = [
  Expect<Equal<RequiredKeys<MachineOptions>, never>>,
  Expect<Equal<WritableKeys<MachineOptions>, never>>,
  Expect<Equal<MachineOptions['kernel'], string | URL | Uint8Array | undefined>>,
  Expect<Equal<NonNullable<MachineOptions['memory']>, number | string | MemoryOptions>>,
  Expect<Equal<MachineOptions['kernelFormat'], 'auto' | 'flat' | 'linux' | 'multiboot' | 'pvh' | undefined>>,
  Expect<
    Equal<SerialTarget, 'stdio' | 'null' | 'stream' | 'pty' | { readonly file: string | URL } | SocketTarget | Writable>
  >,
]

export type Ends = [
  Expect<
    Equal<
      Exit['reason'],
      | 'guest-shutdown'
      | 'guest-panicked'
      | 'guest-reset'
      | 'debug-exit'
      | 'internal-error'
      | 'host-quit'
      | 'aborted'
      | 'handler-error'
    >
  >,
  Expect<Equal<RequiredKeys<Exit>, 'reason'>>,
  Expect<Equal<WritableKeys<Exit>, never>>,
  Expect<
    Equal<RunState, 'prelaunch' | 'running' | 'paused' | 'debug' | 'guest-panicked' | 'internal-error' | 'shutdown'>
  >,
]

export type Events = [
  Expect<
    Equal<
      keyof MachineEventMap,
      'notify' | 'bus-lock' | 'debug' | 'stop' | 'resume' | 'reset' | 'shutdown' | 'device-error' | 'warning'
    >
  >,
  Expect<Equal<MachineEventMap['notify'], [NotifyEvent]>>,
  Expect<Equal<MachineEventMap['stop'], [StopEvent]>>,
  Expect<Equal<MachineEventMap['resume'], []>>,
  Expect<Equal<MachineEventMap['reset'], [{ readonly guest: boolean }]>>,
  Expect<Equal<MachineEventMap['shutdown'], [{ readonly reason: Exit['reason'] }]>>,
  Expect<Equal<MachineEventMap['warning'], [MachineWarning]>>,
  Expect<Equal<MachineWarning['code'], WarningCode>>,
  Expect<string extends WarningCode ? false : true>,
  Expect<Equal<WritableKeys<NotifyEvent>, never>>,
  Expect<Equal<NotifyEvent['rip'], bigint>>,
]

export type Methods = [
  Expect<Equal<ReturnType<typeof Machine.create>, Promise<Machine>>>,
  Expect<Equal<ReturnType<Machine['wait']>, Promise<Exit>>>,
  Expect<Equal<ReturnType<Machine['start' | 'pause' | 'resume' | 'reset' | 'stop']>, Promise<void>>>,
  Expect<Equal<ReturnType<Machine['injectNmi' | 'injectNotify']>, Promise<void>>>,
  Expect<Equal<ReturnType<Machine['addDevice']>, Promise<MachineDevice>>>,
  Expect<Equal<Machine['state'], RunState>>,
  Expect<Equal<ReturnType<Machine['counters']>, MachineCounters>>,
  Expect<Equal<Machine['accel'], MachineAccel>>,
  Expect<Equal<MachineAccel['notify'], NotifyStatus>>,
  Expect<Machine['serial'] extends Duplex ? true : false>,
  Expect<Machine extends AsyncDisposable ? true : false>,
]

export async function uses(machine: Machine): Promise<void> {
  machine.on('notify', event => {
    const contextInvalid: boolean = event.contextInvalid
    // @ts-expect-error: an event is read-only
    event.total = 0
    return contextInvalid
  })
  machine.once('stop', ({ exit }) => exit?.reason === 'debug-exit' && exit.status)
  // @ts-expect-error: an unknown event
  machine.on('stopped', () => {})
  // @ts-expect-error: a handler receives one argument
  machine.on('warning', (_warning, _another) => {})
  // @ts-expect-error: only create() creates a machine
  new Machine()
  await Machine.create({ firmware: 'bios.bin' })
  // @ts-expect-error: an unknown format
  await Machine.create({ kernel: 'vmlinux', kernelFormat: 'bzImage' })
  await Machine.create({ kernel: 'vmlinux', append: undefined, signal: undefined, vsock: { cid: 3, path: undefined } })
}
