import type { MachineOptions } from '../../machine/config/machine-options.js'
import { formatConfig, readConfig } from './config-file.js'
import { draftMachine } from './draft-machine.js'
import type { RunFiles } from '../image-files.js'
import { readArgv } from './read-argv.js'
import { tracedEvents } from '../options/read-reports.js'
import type { StatsSettings } from '../reports/stats.js'
import type { TraceSettings } from '../reports/trace.js'

/** Settings of `kvm-accel run` that are not options of the machine. */
export interface RunSettings {
  /** `-S`: do not start. */
  readonly paused: boolean
  /** `-no-shutdown`: stay after the guest has shut down or failed. */
  readonly noShutdown: boolean
  /** `-pidfile`. */
  readonly pidfile: string | null
  /** `-stats`. */
  readonly stats: StatsSettings | null
  /** `-trace`. */
  readonly trace: TraceSettings | null
  /** Notices for standard error about requests that have no effect. */
  readonly notices: readonly string[]
}

/** The meaning of a command line: a text to print, or a machine to run. */
export type RunRequest =
  | { readonly kind: 'print'; readonly text: string; readonly notices: readonly string[] }
  | { readonly kind: 'run'; readonly machine: MachineOptions; readonly run: RunSettings }

/**
 * Reads QEMU's command line. Pure except for `files`.
 *
 * @throws {@link OptionError}, and the errors of {@link resolveAccelerators}.
 */
export function resolveRun(argv: readonly string[], files: RunFiles): RunRequest {
  const draft = readArgv(argv)
  if (typeof draft === 'string') return { kind: 'print', text: draft, notices: [] }
  const { config, name } = draft
  const { machine: given, unused } =
    config === undefined ? draftMachine(draft, files) : { machine: readConfig(config, files.readText), unused: [] }
  const globs = [given.trace ?? [], draft.trace.globs].flat()
  const trace = globs.length > 0 ? { ...draft.trace, globs } : null
  const machine: MachineOptions = {
    ...given,
    noReboot: draft.noReboot || (given.noReboot ?? false),
    noShutdown: draft.noShutdown || (given.noShutdown ?? false),
    ...(name !== undefined && { name }),
    ...(trace !== null && { trace: tracedEvents(trace) }),
  }
  const notices = [...draft.notices, ...unused]
  if (draft.printConfig) return { kind: 'print', text: formatConfig(machine), notices }
  if (draft.paused) notices.push('-S: the machine waits for a signal, because there is no monitor that could start it')
  return {
    kind: 'run',
    machine,
    run: {
      paused: draft.paused,
      noShutdown: machine.noShutdown ?? false,
      pidfile: draft.pidfile ?? null,
      stats: draft.stats ?? null,
      trace,
      notices,
    },
  }
}
