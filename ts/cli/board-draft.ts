// What -drive, -netdev, -chardev, -object and -device say, before and after their ids are joined.

import type { DebugExitOptions } from '../machine/config/board.js'
import type { MemoryOptions } from '../machine/config/memory.js'
import type { BalloonOptions } from '../machine/config/virtio/balloon.js'
import type { NetworkOptions } from '../machine/config/virtio/networks.js'
import type { RngOptions } from '../machine/config/virtio/rng.js'
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

/** The devices of a machine. */
export interface BoardDraft {
  disks: DiskDraft[]
  networks: NetworkOptions[]
  rng?: RngOptions
  vsock?: { readonly cid: number; readonly path?: string }
  balloon?: BalloonOptions
  consoles: PortDraft[]
  /** COM1 to COM4; null is a port that is not there. */
  serials: (CharacterTarget | null)[]
  debugConsole?: { readonly port: number; readonly target: CharacterTarget }
  debugExit?: Required<DebugExitOptions>
  pvpanic?: true
  /** A UUID, or one made at random. */
  vmGenerationId?: string
  testDevices?: true
}

/** Something that `-object` made. */
export type ObjectDraft =
  | { readonly kind: 'rng'; readonly source: string }
  | { readonly kind: 'memory'; readonly memory: MemoryOptions & { readonly size: number } }
