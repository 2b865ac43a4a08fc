// The arguments of -drive, -netdev, -chardev, -object and -device, before and after their ids are
// resolved.

import type { MemoryOptions } from '../../machine/config/memory.js'
import type { NetworkBackend, NetworkOptions } from '../../machine/config/virtio/networks.js'
import type { DiskThrottleOptions } from '../../machine/config/virtio/throttle.js'
import type { MachineOptions } from '../../machine/config/machine-options.js'
import type { Draft } from '../parameters/schema-options.js'

/** A drive or a block node. */
export interface DriveDraft {
  readonly path: string
  /** Absent when the command line does not name the format, which is then detected. */
  readonly format?: 'raw' | 'qcow2'
  readonly readOnly: boolean
  /** Whether discard requests of the guest reach the file. */
  readonly discard: boolean
  readonly throttle: DiskThrottleOptions
}

/** A disk of the guest. */
export interface DiskDraft extends DriveDraft {
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

/** The target of a character device. */
export type CharacterTarget = 'stdio' | 'null' | 'pty' | { readonly file: string } | { readonly socket: SocketTarget }

/** A port of the virtio console: a terminal, or a channel of bytes if it has a name. */
export interface PortDraft {
  readonly target: CharacterTarget
  readonly name?: string
}

/** A file of fw_cfg. */
export type FwCfgContent = { readonly file: string } | { readonly string: string }

/** The real-time clock. */
export interface RtcDraft {
  /** A date is the start time of the clock. */
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
  /** COM1 to COM4; null for a port that the machine does not have. */
  serials: (CharacterTarget | null)[]
  debugConsole?: { readonly port: number; readonly target: CharacterTarget }
}

/** An object of `-object`. */
export type ObjectDraft =
  | { readonly kind: 'rng'; readonly source: string }
  | { readonly kind: 'memory'; readonly memory: MemoryOptions & { readonly size: number } }

/** The parts of a command line that devices refer to by id. */
export interface BoardParts {
  /** `-drive` and `-blockdev`, by id or node name. */
  readonly drives: Map<string, DriveDraft>
  /** Ids of block nodes that another block node uses as its file. */
  readonly lowerNodes: Set<string>
  /** `-netdev`. */
  readonly networks: Map<string, NetworkBackend>
  /** `-chardev`. */
  readonly characters: Map<string, CharacterTarget>
  /** `-object`. */
  readonly objects: Map<string, ObjectDraft>
}
