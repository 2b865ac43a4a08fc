// The conversion of a machine's options to their normal form, and back.

import { MachineConfigError } from '../../errors/options/machine-config-error.js'
import { readMembers, writeMembers } from '../../schema/compound.js'
import type { NormalOf } from '../../schema/entry.js'
import { normalBoot, type NormalBoot } from './boot.js'
import { normalTopology, type NormalTopology } from './cpu/topology.js'
import { machineMembers, type MachineOptions } from './machine-options.js'
import { joinSerials, splitSerials, type NormalSerials } from './serial-ports.js'
import { checkVmGenerationId } from './vm-generation.js'

type Members = NormalOf<typeof machineMembers>

/** The members whose normal form depends on other members. */
type Joined = 'serial' | 'serials' | keyof NormalBoot | keyof NormalTopology

/**
 * {@link MachineOptions} in normal form. Every option is set, and has passed every check that does
 * not depend on the host.
 */
export interface NormalMachineOptions extends Omit<Members, Joined>, NormalBoot, NormalTopology {
  readonly serials: NormalSerials
}

/**
 * Checks a machine's options and fills in the defaults.
 *
 * @throws {@link MachineConfigError} naming the option; the errors of `accel`, see
 * {@link resolveAccelerators}.
 */
export function normaliseMachineOptions(options: MachineOptions): NormalMachineOptions {
  if (typeof options !== 'object' || options === null) {
    const remedy = "For example Machine.create({ kernel: 'vmlinux' })."
    throw new MachineConfigError('invalid machine options: expected an object', { option: '', remedy })
  }
  const { serial, serials, ...members } = readMembers(machineMembers, options, '')
  checkVmGenerationId(members)
  return Object.freeze({
    ...members,
    ...normalBoot(members),
    ...normalTopology(members),
    serials: joinSerials({ serial, serials }),
  })
}

/**
 * Returns the options with every default written out. They can be written as JSON if no option is a
 * stream, a signal or bytes. Their normal form equals `normal`.
 */
export function explicitOptions(normal: NormalMachineOptions): MachineOptions {
  const { kernel, append, initrd } = normal
  return writeMembers(machineMembers, {
    ...normal,
    ...splitSerials(normal.serials),
    append: kernel === null ? null : append,
    initrd: kernel === null ? null : initrd,
  })
}
