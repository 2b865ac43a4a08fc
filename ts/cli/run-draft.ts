import type { CpuOptions, TopologyOptions } from '../machine/cpu-options.js'
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
  debugExit?: { iobase: number; iosize: number }
  lostTickPolicy?: 'delay' | 'discard'
  serial?: 'stdio' | 'null' | { file: string }
  nographic: boolean
  nodefaults: boolean
  noReboot: boolean
  noShutdown: boolean
  paused: boolean
  name?: string
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
    nographic: false,
    nodefaults: false,
    noReboot: false,
    noShutdown: false,
    paused: false,
    trace: { globs: [], file: null, format: 'json' },
    notices: [],
  }
}

/** Of duplicates the last wins. */
export function lastOfEach(pairs: readonly OptionPair[]): Map<string, string> {
  return new Map(pairs.map(({ key, value }) => [key, value]))
}
