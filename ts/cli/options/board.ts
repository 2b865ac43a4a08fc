import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import { parseOptionText } from '../../properties/option-text.js'
import { accelSugar, busLockRatelimit, machineProperties, machineTypes } from '../parameters/machine-types.js'
import { isHelp, oneOf, only, readParameters, type Parameter } from '../parameters/parameters.js'
import { readGlobal } from './read-global.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** The options of the board. */
export const boardOptions: readonly RunOption[] = [
  {
    name: '-machine',
    aliases: ['-M'],
    argument: 'microvm|pc[,PROPERTY=VALUE…]',
    repeated: 'adds',
    about:
      'a name for the board, accel=A:B, kernel-irqchip=, kvm-shadow-mem=, bus-lock-ratelimit=, memory-backend=ID, kernel=, initrd=, append=, firmware=',
    differs:
      'One board under both names. Of the other properties only those are accepted that describe it; -machine help lists them.',
    read: readMachine,
  },
  {
    name: '-no-acpi',
    repeated: 'no effect',
    about: 'the same as -machine acpi=off',
    differs: '',
    read: draft => void draft.machine.set('acpi', 'off'),
  },
  {
    name: '-no-hpet',
    repeated: 'no effect',
    about: 'accepted: there is no HPET',
    differs: '',
    read: () => {},
  },
  {
    name: '-rtc',
    argument: 'base=utc|localtime|DATE[,clock=host|vm][,driftfix=none]',
    repeated: 'last wins',
    about: 'what the real-time clock shows at the start, and which clock drives it',
    differs: 'No clock=rt and driftfix=slew.',
    read: readRtc,
  },
  {
    name: '-global',
    argument: 'kvm-pit.lost_tick_policy=delay|discard',
    repeated: 'last wins',
    about: 'whether ticks of the PIT that the guest is too late for come late or not at all; default delay',
    differs: 'No other property, and none of other devices.',
    read: readGlobal,
  },
]

function readMachine(draft: RunDraft, text: string): string | void {
  for (const { key: spelled, value, bare } of parseOptionText(text, 'type')) {
    // QEMU accepts an underscore in place of a dash in this option only.
    const key = spelled.replaceAll('_', '-')
    if (bare || (key === 'type' && isHelp(value))) {
      if (key === 'type' || isHelp(key)) return machineHelp()
      throw new OptionError(`-machine expects '=' after '${key}'`, {
        option: '-machine',
        remedy: `For example '-machine ${key}=on'.`,
      })
    }
    if (key === 'kernel' || key === 'initrd' || key === 'append' || key === 'firmware') {
      draft[key] = value
      continue
    }
    checkMachineProperty(key, value)
    draft.machine.set(key, value)
  }
}

function checkMachineProperty(key: string, value: string): void {
  if (key === 'type') {
    if (machineTypes.has(value)) return
    const types = [...machineTypes.keys()]
    const message = `-machine does not have '${value}'.${didYouMean(value, types)}`
    throw new OptionError(message, { option: '-machine', remedy: `Use ${either(types)}.` })
  }
  if (key === 'accel' || key === 'memory-backend' || accelSugar.includes(key)) return
  if (key === busLockRatelimit) {
    if (/^[0-9]+$/.test(value) && Number.isSafeInteger(Number(value))) return
    const remedy = 'Give a number of bus locks in a second, 0 for no limit.'
    throw new OptionError(`-machine ${key}= expects a number, and not '${value}'`, { option: '-machine', remedy })
  }
  const property = machineProperties.find(({ name }) => name === key)
  if (property === undefined) {
    const names = [
      'accel',
      'memory-backend',
      busLockRatelimit,
      ...accelSugar,
      ...machineProperties.map(({ name }) => name),
    ]
    const remedy = "Properties of the accelerator belong to '-accel kvm,…'; '-machine help' lists those of the machine."
    throw new OptionError(`-machine has no property '${key}'.${didYouMean(key, names)}`, { option: '-machine', remedy })
  }
  if (!property.values.includes(value)) {
    const remedy = `Use ${either(property.values.map(valid => `${key}=${valid}`))}, or leave it out.`
    throw new OptionError(`-machine does not accept '${key}=${value}': ${property.about}`, {
      option: '-machine',
      remedy,
    })
  }
}

function machineHelp(): string {
  const types = [...machineTypes].map(([name, about]) => `${name.padEnd(20)} ${about}`)
  const properties = machineProperties.map(
    ({ name, values, about }) => `${`${name}=${values.join('|')}`.padEnd(27)} ${about}`,
  )
  return [
    'Supported machines are:',
    ...types,
    '',
    'Properties; but for acpi, auto-kernel-cmdline, dump-guest-core, isa-serial, pic and pit they say what is so anyway:',
    ...properties,
    `${'bus-lock-ratelimit=N'.padEnd(27)} bus locks in a second before the guest is slowed down; 0: no limit`,
    `${'kernel-irqchip=, kvm-shadow-mem='.padEnd(27)} as with -accel kvm,…`,
  ].join('\n')
}

/** A date without a zone is in UTC, as the clock is. */
const rtcBase: Parameter<'utc' | 'localtime' | Date> = {
  takes: 'utc|localtime|YYYY-MM-DD[THH:MM:SS]',
  read: value => {
    if (value === 'utc' || value === 'localtime') return value
    if (!/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2})?$/.test(value)) return undefined
    const date = new Date(value.includes('T') ? `${value}Z` : value)
    return Number.isNaN(date.getTime()) ? undefined : date
  },
}

const rtcParameters = {
  base: rtcBase,
  clock: oneOf('host', 'vm'),
  driftfix: only('none', 'lost ticks are not made up for'),
}

function readRtc(draft: RunDraft, text: string): void {
  const { base = 'utc', clock = 'host' } = readParameters({ option: '-rtc' }, parseOptionText(text), rtcParameters)
  draft.rtc = { base, clock }
}
