// The normal form of a command line: a machine's options as JSON.

import { OptionError } from '../../errors/options/option-error.js'
import { explicitOptions, normaliseMachineOptions } from '../../machine/config/normal-options.js'
import type { MachineOptions } from '../../machine/config/machine-options.js'

/** Returns the text that `-print-config` prints: every option, defaults included. */
export function formatConfig(machine: MachineOptions): string {
  return JSON.stringify(explicitOptions(normaliseMachineOptions(machine)), null, 2)
}

/**
 * Reads a configuration, from {@link formatConfig} or written by hand. Options that are absent have
 * their defaults.
 *
 * @throws {@link OptionError} for a file that cannot be read or is not JSON; `MachineConfigError`
 * for an invalid option.
 */
export function readConfig(path: string, readText: (path: string) => string): MachineOptions {
  const option = '-config'
  let options: MachineOptions
  try {
    options = JSON.parse(readText(path)) as MachineOptions
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const remedy = "Create a configuration with 'kvm-accel run … --print-config > FILE'."
    throw new OptionError(`-config cannot read '${path}': ${why}`, { option, remedy, cause })
  }
  const { serials, debugConsole, consoles } = normaliseMachineOptions(options)
  if (
    [...serials, debugConsole?.target, ...consoles.map(({ target }) => target)].some(
      target => target?.kind === 'stream',
    )
  ) {
    const remedy = "Use 'stdio', 'null' or a file. Only programs can use 'stream'."
    throw new OptionError(`-config: a port in '${path}' has the target 'stream', which the command line cannot read`, {
      option,
      remedy,
    })
  }
  return options
}
