// The arguments of -drive, -netdev, -chardev, -object and -device, before and after their ids are
// resolved.

import type { MachineOptions } from '../../machine/config/machine-options.js'
import type { MemoryOptions } from '../../machine/config/memory.js'
import type { SerialTarget } from '../../machine/config/serial.js'
import type { ConsoleOptions } from '../../machine/config/virtio/consoles.js'
import type { DiskOptions } from '../../machine/config/virtio/disks.js'
import type { NetworkBackend, NetworkOptions } from '../../machine/config/virtio/networks.js'
import type { Draft } from '../parameters/schema-options.js'

/** A drive or a block node: a disk without the options of its device. */
export type DriveDraft = Omit<DiskOptions, 'id' | 'serial'>

/** Devices whose arguments refer to no other argument: their options are those of the machine. */
type PlainDevices = Pick<
  MachineOptions,
  'rng' | 'vsock' | 'balloon' | 'debugConsole' | 'debugExit' | 'pvpanic' | 'vmGenerationId' | 'testDevices'
>

/** The devices of a machine. */
export interface BoardDraft extends Draft<PlainDevices> {
  disks: DiskOptions[]
  networks: NetworkOptions[]
  consoles: ConsoleOptions[]
  /** COM1 to COM4; null for a port that the machine does not have. */
  serials: (SerialTarget | null)[]
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
  readonly characters: Map<string, SerialTarget>
  /** `-object`. */
  readonly objects: Map<string, ObjectDraft>
  /** The values of `-global`, by driver. */
  readonly globals: Map<string, Readonly<Record<string, unknown>>>
}
