// What -drive, -netdev, -chardev, -object and -device say, before and after their ids are joined.

import type { MachineOptions } from '../machine/config/machine-options.js'
import type { MemoryOptions } from '../machine/config/memory.js'
import type { NetworkOptions } from '../machine/config/virtio/networks.js'
import type { Draft } from './schema-options.js'
import type { DiskThrottleOptions } from '../machine/config/virtio/throttle.js'

/** A drive or a block node. */
export interface DriveDraft {
  readonly path: string
  /** Absent: not told. */
  readonly format?: 'raw' | 'qcow2'
  readonly readOnly: boolean
  /** Discards of the guest reach the file. */
  readonly discard: boolean
  readonly throttle: DiskThrottleOptions
}

/** A disk of the guest. */
export interface DiskDraft extends Required<DriveDraft> {
  readonly id: string
  readonly serial?: string
}

/** A socket that a character device listens on or connects to. */
export interface SocketTarget {
  readonly address: { readonly path: string } | { readonly host: string; readonly port: number }
  readonly server: boolean
  /** Whether the machine waits for the first client. */
  readonly wait: boolean
}

/** Where a character device leads. */
export type CharacterTarget = 'stdio' | 'null' | 'pty' | { readonly file: string } | { readonly socket: SocketTarget }

/** A port of the virtio console: a terminal, or with a name a channel of bytes. */
export interface PortDraft {
  readonly target: CharacterTarget
  readonly name?: string
}

/** A file of fw_cfg. */
export type FwCfgContent = { readonly file: string } | { readonly string: string }

/** The real-time clock. */
export interface RtcDraft {
  /** A date is where it starts. */
  readonly base: 'utc' | 'localtime' | Date
  readonly clock: 'host' | 'vm'
}

/** Devices whose options are the machine's, without references to join. */
type PlainDevices = Pick<
  MachineOptions,
  'rng' | 'vsock' | 'balloon' | 'debugExit' | 'pvpanic' | 'vmGenerationId' | 'testDevices'
>

/** The devices of a machine. */
export interface BoardDraft extends Draft<PlainDevices> {
  disks: DiskDraft[]
  networks: NetworkOptions[]
  consoles: PortDraft[]
  /** COM1 to COM4; null is an absent port. */
  serials: (CharacterTarget | null)[]
  debugConsole?: { readonly port: number; readonly target: CharacterTarget }
}

/** Something that `-object` made. */
export type ObjectDraft =
  | { readonly kind: 'rng'; readonly source: string }
  | { readonly kind: 'memory'; readonly memory: MemoryOptions & { readonly size: number } }
