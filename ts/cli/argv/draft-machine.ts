import { OptionError } from '../../errors/options/option-error.js'
import type { InitrdImage } from '../../machine/config/boot.js'
import type { MachineOptions } from '../../machine/config/machine-options.js'
import { formatOptionText, type OptionPair } from '../../properties/option-text.js'
import { resolveAccelerators, splitAccelerator } from '../../properties/resolve.js'
import { Board } from '../draft/board.js'
import { findFirmware } from './find-firmware.js'
import type { RunFiles } from '../image-files.js'
import { machineDevices } from '../draft/machine-devices.js'
import { accelSugar } from '../parameters/machine-types.js'
import { addSerialPorts } from '../options/characters.js'
import { memoryOption } from '../options/memory.js'
import type { RunDraft } from '../draft/run-draft.js'
import { machineOptionsOf } from '../parameters/schema-options.js'

/**
 * Converts a draft to the options of its machine. Returns the names of unused drives, back ends and
 * objects too.
 */
export function draftMachine(
  draft: RunDraft,
  files: RunFiles,
): { readonly machine: MachineOptions; readonly unused: readonly string[] } {
  const { kernel, firmware, initrd, append, cpu, cpuPm, cpus, topology, lostTickPolicy, noReboot, noShutdown } = draft
  const accel = accelerators(draft)
  // Checks the properties. The machine emits their warnings.
  resolveAccelerators(accel)
  const board = resolveBoard(draft)
  if (kernel === undefined && (firmware === undefined || append !== undefined || initrd !== undefined)) {
    throw noKernel(draft)
  }
  const machine: MachineOptions = {
    accel,
    ...(kernel !== undefined && { kernel }),
    ...(firmware !== undefined && { firmware: findFirmware(firmware, files) }),
    ...machineDevices(board.devices, draft),
    noReboot,
    noShutdown,
    ...memoryOption(draft),
    ...(cpus !== undefined && { cpus }),
    ...(topology !== undefined && { topology }),
    ...(cpu !== undefined && { cpu }),
    ...(cpuPm !== undefined && { cpuPm }),
    ...machineOptionsOf(draft.machine),
    ...(initrd !== undefined && {
      initrd: kernel !== undefined && files.isMultiboot(kernel) ? modules(initrd) : initrd,
    }),
    ...(append !== undefined && { append }),
    ...(lostTickPolicy !== undefined && { lostTickPolicy }),
  }
  return { machine, unused: board.unused() }
}

/**
 * Resolves the ids that devices refer to. The ports of -serial come first, the disks of
 * `-drive if=virtio` last, as in QEMU.
 */
export function resolveBoard(draft: RunDraft): Board {
  const board = new Board(draft)
  addSerialPorts(draft, board)
  for (const add of [...draft.devices, ...draft.virtioDrives]) add(board)
  return board
}

/**
 * Returns the fallback list. The properties of `-machine` precede each accelerator's own
 * properties, which override them.
 */
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
  return new OptionError('-kernel is missing, and so is -bios: a machine needs a kernel or firmware', {
    option: '-kernel',
    remedy,
  })
}

/**
 * QEMU's list of multiboot modules, `FILE ARGS,FILE ARGS`: a module's command line begins with its
 * file.
 */
function modules(initrd: string): readonly InitrdImage[] {
  const entries = initrd.match(/(?:[^,]|,,)+/g) ?? []
  return entries.map(entry => {
    const cmdline = entry.replaceAll(',,', ',')
    return { image: cmdline.split(' ', 1)[0] ?? '', cmdline }
  })
}
