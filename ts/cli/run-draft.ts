import type { CpuOptions } from '../machine/config/cpu/cpu.js'
import type { TopologyOptions } from '../machine/config/cpu/topology.js'
import type { AddDevice } from './board.js'
import type { CharacterTarget, DriveDraft, FwCfgContent, ObjectDraft, RtcDraft } from './board-draft.js'
import type { NetworkBackend } from '../machine/config/virtio/networks.js'
import type { OptionPair } from '../properties/option-text.js'
import type { StatsSettings } from './stats.js'

/** What `run`'s options have said so far. */
export interface RunDraft {
  /** `-accel`, in order. */
  readonly accels: string[]
  /** `-machine`, merged: of equal keys the last wins. */
  readonly machine: Map<string, string>
  cpu?: CpuOptions
  cpuPm?: boolean
  topology?: TopologyOptions
  /** Bytes. */
  memory?: number
  memPath?: string
  memPrealloc: boolean
  cpus?: number
  kernel?: string
  initrd?: string
  append?: string
  firmware?: string
  readonly fwCfg: Map<string, FwCfgContent>
  rtc?: RtcDraft
  /** `-drive` and `-blockdev`, by id or node name. */
  readonly drives: Map<string, DriveDraft>
  /** Block nodes that stand for others' files. */
  readonly lowerNodes: Set<string>
  /** `-netdev`. */
  readonly networks: Map<string, NetworkBackend>
  /** `-chardev`. */
  readonly characters: Map<string, CharacterTarget>
  readonly objects: Map<string, ObjectDraft>
  /** `-device`, and what is short for it, in order; then the disks of `-drive if=virtio`. */
  readonly devices: AddDevice[]
  readonly virtioDrives: AddDevice[]
  readonly deviceIds: Set<string>
  /** Arguments of `-serial`, in order: they may name a chardev that comes later. */
  readonly serials: string[]
  /** The option that has standard input and output. */
  stdio?: string
  lostTickPolicy?: 'delay' | 'discard'
  nographic: boolean
  nodefaults: boolean
  noReboot: boolean
  noShutdown: boolean
  paused: boolean
  name?: string
  /** `-config`. */
  config?: string
  printConfig: boolean
  pidfile?: string
  stats?: StatsSettings
  readonly trace: { globs: string[]; file: string | null; format: 'json' | 'chrome' }
  /** What was asked for and is not done, for stderr. */
  readonly notices: string[]
}

/** Nothing said yet. */
export function emptyDraft(): RunDraft {
  return {
    accels: [],
    machine: new Map(),
    memPrealloc: false,
    fwCfg: new Map(),
    drives: new Map(),
    lowerNodes: new Set(),
    networks: new Map(),
    characters: new Map(),
    objects: new Map(),
    devices: [],
    virtioDrives: [],
    deviceIds: new Set(),
    serials: [],
    nographic: false,
    nodefaults: false,
    noReboot: false,
    noShutdown: false,
    paused: false,
    printConfig: false,
    trace: { globs: [], file: null, format: 'json' },
    notices: [],
  }
}

/** Of duplicates the last wins. */
export function lastOfEach(pairs: readonly OptionPair[]): Map<string, string> {
  return new Map(pairs.map(({ key, value }) => [key, value]))
}
