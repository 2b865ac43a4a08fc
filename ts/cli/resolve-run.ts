import { OptionError } from '../errors/option-error.js'
import { didYouMean } from '../errors/suggest.js'
import type { InitrdImage, MachineOptions } from '../machine/options.js'
import { formatOptionText, type OptionPair } from '../properties/option-text.js'
import { resolveAccelerators, splitAccelerator } from '../properties/resolve.js'
import { Board } from './board.js'
import type { RunFiles } from './image-files.js'
import { machineDevices } from './machine-devices.js'
import { accelSugar, busLockRatelimit } from './machine-types.js'
import { memoryOption } from './options/memory.js'
import { addSerialPorts } from './options/characters.js'
import { emptyDraft, type RunDraft } from './run-draft.js'
import { runOptions, type RunOption } from './run-options.js'
import type { StatsSettings } from './stats.js'
import { tracedEvents } from './read-reports.js'
import type { TraceSettings } from './trace.js'

/** What `kvm-accel run` does besides the machine itself. */
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
  /** What was asked for and is not done, for stderr. */
  readonly notices: readonly string[]
}

/** What a command line asks for: a text to print, or a machine to run. */
export type RunRequest =
  | { readonly kind: 'print'; readonly text: string }
  | { readonly kind: 'run'; readonly machine: MachineOptions; readonly run: RunSettings }

/**
 * Reads QEMU's command line. Pure but for `files`.
 *
 * @throws {@link OptionError}, and what {@link resolveAccelerators} throws.
 */
export function resolveRun(argv: readonly string[], files: RunFiles): RunRequest {
  const draft = readArgv(argv)
  return typeof draft === 'string' ? { kind: 'print', text: draft } : complete(draft, files)
}

/** Reads each option. @returns What they say, or a text that one asks to be printed. */
export function readArgv(argv: readonly string[]): RunDraft | string {
  const draft = emptyDraft()
  for (let at = 0; at < argv.length; at++) {
    const option = findOption(argv[at] ?? '')
    let argument = ''
    if (option.argument !== undefined) {
      const next = argv[++at]
      if (next === undefined) {
        const remedy = `For example '${option.name} ${option.argument}'.`
        throw new OptionError(`${option.name} requires an argument`, { option: option.name, remedy })
      }
      argument = next
    }
    const text = option.read(draft, argument)
    if (text !== undefined) return text
  }
  return draft
}

function findOption(word: string): RunOption {
  if (!word.startsWith('-') || word === '-') {
    const remedy = `For a disk use '-drive file=${word},format=raw,if=virtio'.`
    const message = `'${word}' is no option; in QEMU a disk image alone is an IDE disk, and the board has none`
    throw new OptionError(message, { option: word, remedy })
  }
  const name = word.startsWith('--') ? word.slice(1) : word
  const option = runOptions.find(option => option.name === name || option.aliases?.includes(name))
  if (option !== undefined) return option
  const assigned = name.includes('=')
    ? runOptions.find(({ name: known }) => known === name.slice(0, name.indexOf('=')))
    : undefined
  const remedy =
    assigned === undefined
      ? "'kvm-accel run -help' lists the options."
      : `QEMU's options take their argument as the next word: '${assigned.name} ${name.slice(name.indexOf('=') + 1)}'.`
  const names = runOptions.flatMap(({ name, aliases = [] }) => [name, ...aliases])
  const meant = assigned === undefined ? didYouMean(name, names) : ''
  throw new OptionError(`${word}: kvm-accel does not have this option.${meant}`, { option: name, remedy })
}

function complete(draft: RunDraft, files: RunFiles): RunRequest {
  const { kernel, initrd, append, cpu, cpuPm, cpus, topology, lostTickPolicy, name } = draft
  const accel = accelerators(draft)
  // Reads the properties for their errors; the machine tells the warnings.
  resolveAccelerators(accel)
  const board = resolveBoard(draft, files)
  if (kernel === undefined) throw noKernel(draft)
  const notices = [...draft.notices, ...board.unused()]
  if (draft.paused) notices.push('-S: there is no monitor that could start the machine; it waits for a signal')
  const limit = draft.machine.get(busLockRatelimit)
  const trace = draft.trace.globs.length > 0 ? draft.trace : null
  const machine: MachineOptions = {
    accel,
    kernel,
    ...machineDevices(board.devices, draft),
    noReboot: draft.noReboot,
    noShutdown: draft.noShutdown,
    ...memoryOption(draft),
    ...(cpus !== undefined && { cpus }),
    ...(topology !== undefined && { topology }),
    ...(cpu !== undefined && { cpu }),
    ...(cpuPm !== undefined && { cpuPm }),
    ...(limit !== undefined && { busLockRatelimit: Number(limit) }),
    ...(initrd !== undefined && { initrd: files.isMultiboot(kernel) ? modules(initrd) : initrd }),
    ...(append !== undefined && { append }),
    ...(lostTickPolicy !== undefined && { lostTickPolicy }),
    ...(name !== undefined && { name }),
    ...(trace !== null && { trace: tracedEvents(trace) }),
  }
  return {
    kind: 'run',
    machine,
    run: {
      paused: draft.paused,
      noShutdown: draft.noShutdown,
      pidfile: draft.pidfile ?? null,
      stats: draft.stats ?? null,
      trace,
      notices,
    },
  }
}

/** Joins the devices' ids. Ports that -serial asks for come first, disks of `-drive if=virtio` last, as in QEMU. */
export function resolveBoard(draft: RunDraft, files: RunFiles): Board {
  const board = new Board(draft, files)
  addSerialPorts(draft, board)
  for (const add of [...draft.devices, ...draft.virtioDrives]) add(board)
  return board
}

/** The fallback list, with `-machine`'s sugar in front of each accelerator's own properties, which win over it. */
function accelerators({ accels, machine }: RunDraft): readonly string[] {
  const list = machine.get('accel')
  if (list !== undefined && accels.length > 0) {
    const remedy = "Use '-accel' alone; repeat it for a fallback."
    throw new OptionError("-accel and '-machine accel=' exclude each other", { option: '-accel', remedy })
  }
  const sugar: OptionPair[] = accelSugar.flatMap(key => {
    const value = machine.get(key)
    return value === undefined ? [] : [{ key, value }]
  })
  const texts = list === undefined ? (accels.length > 0 ? accels : ['kvm']) : list.split(':').map(asAccel)
  return texts.map(text => {
    if (sugar.length === 0) return text
    const { name, properties } = splitAccelerator(text)
    return formatOptionText([{ key: 'accel', value: name }, ...sugar, ...properties])
  })
}

function asAccel(name: string): string {
  return formatOptionText([{ key: 'accel', value: name }])
}

function noKernel({ append, initrd }: RunDraft): OptionError {
  const remedy = "For example '-kernel vmlinux'."
  const orphan = append !== undefined ? '-append' : initrd !== undefined ? '-initrd' : undefined
  if (orphan !== undefined) return new OptionError(`${orphan} is only allowed with -kernel`, { option: orphan, remedy })
  return new OptionError('-kernel is missing, and a machine has no firmware to start without one', {
    option: '-kernel',
    remedy,
  })
}

/** QEMU's list of multiboot modules, `FILE ARGS,FILE ARGS`: a module's command line begins with its file. */
function modules(initrd: string): readonly InitrdImage[] {
  const entries = initrd.match(/(?:[^,]|,,)+/g) ?? []
  return entries.map(entry => {
    const cmdline = entry.replaceAll(',,', ',')
    return { image: cmdline.split(' ', 1)[0] ?? '', cmdline }
  })
}
