import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import { parseOptionText } from '../../properties/option-text.js'
import { machineMembers } from '../../machine/config/machine-options.js'
import { rtcMembers, type RtcOptions } from '../../machine/config/rtc.js'
import { accelSugar, machineProperties, machineTypes, machineValues } from '../parameters/machine-types.js'
import { optionSentences } from '../parameters/option-sentences.js'
import { isHelp, only, parametersHelp, readParameters } from '../parameters/parameters.js'
import { schemaOptions, schemaParameters } from '../parameters/schema-options.js'
import { readGlobal } from './read-global.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** The options of the board. */
export const boardOptions: readonly RunOption[] = [
  {
    name: '-machine',
    aliases: ['-M'],
    argument: 'microvm|pc[,PROPERTY=VALUE…]',
    words: [...machineTypes.keys(), 'help'],
    repeated: 'adds',
    about: 'A name for the board, and its properties. Several are merged; of equal properties the last one counts.',
    differs:
      'Both names select the same board. A property that describes a fixed feature accepts only its value; -machine pc,help lists the properties.',
    read: readMachine,
  },
  {
    name: '-no-acpi',
    repeated: 'no effect',
    about: 'The same as -machine acpi=off.',
    differs: '',
    read: draft => void draft.machine.set('acpi', 'off'),
  },
  {
    name: '-no-hpet',
    repeated: 'no effect',
    about: 'The same as -machine hpet=off.',
    differs: '',
    read: draft => void draft.machine.set('hpet', 'off'),
  },
  {
    name: '-rtc',
    argument: 'base=utc|localtime|DATE[,clock=host|vm][,driftfix=none]',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.rtc'],
    differs: 'No clock=rt and driftfix=slew.',
    read: readRtc,
  },
  {
    name: '-global',
    argument: 'DRIVER.PROPERTY=VALUE',
    repeated: 'adds',
    about: 'Sets a default of a property, for all devices of -device with this driver.',
    differs:
      'Also the fixed properties of kvm-pit, mc146818rtc and virtio-mmio; of these only kvm-pit.lost_tick_policy has a choice. A driver that is unknown here has no effect, with a notice. An unknown property is refused also if no device has the driver.',
    read: readGlobal,
  },
]

function readMachine(draft: RunDraft, text: string): string | void {
  for (const { key: spelled, value, bare } of parseOptionText(text, 'type')) {
    // QEMU accepts an underscore in place of a dash in this option only.
    const key = spelled.replaceAll('_', '-')
    if (key === 'type' && isHelp(value)) return machineTypesHelp()
    if (bare) {
      if (isHelp(key)) return machineHelp(draft.machine.get('type') ?? 'machine')
      throw new OptionError(`-machine expects '=' after '${key}'`, {
        option: '-machine',
        remedy: `For example '-machine ${key}=on'.`,
      })
    }
    if (key === 'kernel' || key === 'initrd' || key === 'append' || key === 'firmware') {
      draft[key] = value
      continue
    }
    draft.machine.set(key, value)
  }
}

/**
 * Checks the merged properties of all `-machine`. As in QEMU, of equal keys only the last one counts,
 * so that `-machine microvm` replaces a type before it.
 */
export function checkMachine({ machine }: RunDraft): void {
  for (const [key, value] of machine) checkMachineProperty(key, value)
}

function checkMachineProperty(key: string, value: string): void {
  if (key === 'type') {
    if (machineTypes.has(value)) return
    const types = [...machineTypes.keys()]
    const message = `-machine: unknown type '${value}'.${didYouMean(value, types)}`
    throw new OptionError(message, { option: '-machine', remedy: `Use ${either(types)}.` })
  }
  if (key === 'accel' || key === 'memory-backend' || accelSugar.includes(key)) return
  if (key === 'bus-lock-ratelimit') {
    if (machineMembers.busLockRatelimit.argument?.read(value) !== undefined) return
    const remedy = 'Give a number of bus locks in a second, 0 for no limit.'
    throw new OptionError(`-machine ${key}= expects a number, and not '${value}'`, { option: '-machine', remedy })
  }
  const property = machineProperties.find(({ name }) => name === key)
  if (property === undefined) {
    const names = [...Object.keys(machineValues), ...machineProperties.map(({ name }) => name)]
    const remedy =
      "Properties of the accelerator belong to '-accel kvm,…'; '-machine pc,help' lists those of the machine."
    throw new OptionError(`-machine: unknown property '${key}'.${didYouMean(key, names)}`, {
      option: '-machine',
      remedy,
    })
  }
  if (!property.values.includes(value)) {
    const remedy = `Use ${either(property.values.map(valid => `${key}=${valid}`))}, or leave it out.`
    const reason = property.fixed ? lowerCase(property.about) : `expected ${either(property.values)}`
    throw new OptionError(`-machine does not accept '${key}=${value}': ${reason}`, {
      option: '-machine',
      remedy,
    })
  }
}

function machineTypesHelp(): string {
  return ['Supported machines are:', ...[...machineTypes].map(([name, about]) => `${name.padEnd(20)} ${about}`)].join(
    '\n',
  )
}

function machineHelp(type: string): string {
  const words = machineProperties.map(({ name, values, about, fixed }) => {
    return [name, { takes: values.join('|'), ...(fixed ? { because: lowerCase(about) } : { about }) }] as const
  })
  const all = { ...machineValues, ...Object.fromEntries(words) }
  const parameters = Object.entries(all).map(([name, text]) => [name, { ...text, read: String }])
  return parametersHelp(type, Object.fromEntries(parameters))
}

/** Converts a sentence to a clause. */
function lowerCase(sentence: string): string {
  return `${sentence.charAt(0).toLowerCase()}${sentence.slice(1).replace(/\.$/, '')}`
}

const rtcParameters = {
  ...schemaParameters('RtcOptions', rtcMembers, '-rtc'),
  driftfix: only('none', 'lost ticks are not reinjected'),
}

function readRtc(draft: RunDraft, text: string): void {
  const given = readParameters({ option: '-rtc' }, parseOptionText(text), rtcParameters)
  draft.rtc = schemaOptions<RtcOptions>(rtcMembers, given, '-rtc')
}
