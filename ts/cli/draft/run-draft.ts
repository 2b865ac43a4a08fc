import type { CpuOptions } from '../../machine/config/cpu/cpu.js'
import type { TopologyOptions } from '../../machine/config/cpu/topology.js'
import type { AddDevice } from './board.js'
import type { FwCfgContent } from '../../machine/config/fw-cfg.js'
import type { RtcOptions } from '../../machine/config/rtc.js'
import type { BoardParts } from './board-draft.js'
import type { OptionPair } from '../../properties/option-text.js'
import type { StatsSettings } from '../reports/stats.js'

/** The arguments of the options of `run` that have been read so far. */
export interface RunDraft extends BoardParts {
  /** `-accel`, in order. */
  readonly accels: string[]
  /** `-machine`, merged. Of equal keys the last one counts. */
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
  rtc?: RtcOptions
  /** `-device` and its short forms, in order. */
  readonly devices: AddDevice[]
  /** The disks of `-drive if=virtio`. They follow `devices`. */
  readonly virtioDrives: AddDevice[]
  readonly deviceIds: Set<string>
  /** Arguments of `-serial`, in order. They may name a chardev of a later option. */
  readonly serials: string[]
  /** The option that uses standard input and output. */
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
  /** Notices for standard error about requests that have no effect. */
  readonly notices: string[]
}

/** Returns the draft of an empty command line. */
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
    globals: new Map(),
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

/** Returns the pairs by key. Of duplicate keys the last one counts. */
export function lastOfEach(pairs: readonly OptionPair[]): Map<string, string> {
  return new Map(pairs.map(({ key, value }) => [key, value]))
}
