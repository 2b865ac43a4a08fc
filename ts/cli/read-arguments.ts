import { OptionError } from '../errors/option-error.js'
import { didYouMean, either } from '../errors/suggest.js'
import { MAX_CPUS, completeTopology, parseCpuText } from '../machine/cpu.js'
import { cpuFeatures } from '../machine/cpu-features.js'
import { cpuModels } from '../machine/cpu-models.js'
import { parseSize } from '../machine/size.js'
import { parseUint32 } from '../properties/number.js'
import { parseOptionText } from '../properties/option-text.js'
import { splitAccelerator } from '../properties/resolve.js'
import { accelSugar, busLockRatelimit, machineProperties, machineTypes } from './machine-types.js'
import { lastOfEach, type RunDraft } from './run-draft.js'

// One function an option: it reads the argument into the draft, or returns a text that is to be printed instead.

export function readAccel(draft: RunDraft, text: string): string | void {
  if (isHelp(splitAccelerator(text).name)) return 'Accelerators supported by kvm-accel:\nkvm'
  draft.accels.push(text)
}

export function readMachine(draft: RunDraft, text: string): string | void {
  for (const { key: spelled, value, bare } of parseOptionText(text, 'type')) {
    // Only here QEMU takes an underscore for a dash.
    const key = spelled.replaceAll('_', '-')
    if (bare || (key === 'type' && isHelp(value))) {
      if (key === 'type' || isHelp(key)) return machineHelp()
      throw new OptionError(`-machine expects '=' after '${key}'`, {
        option: '-machine',
        remedy: `For example '-machine ${key}=on'.`,
      })
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
  if (key === 'accel' || accelSugar.includes(key)) return
  if (key === busLockRatelimit) {
    if (/^[0-9]+$/.test(value) && Number.isSafeInteger(Number(value))) return
    const remedy = 'Give a number of bus locks in a second, 0 for no limit.'
    throw new OptionError(`-machine ${key}= expects a number, and not '${value}'`, { option: '-machine', remedy })
  }
  const property = machineProperties.find(({ name }) => name === key)
  if (property === undefined) {
    const names = ['accel', busLockRatelimit, ...accelSugar, ...machineProperties.map(({ name }) => name)]
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

export function readCpu(draft: RunDraft, text: string): string | void {
  if (isHelp(text)) {
    return `CPU models (as -cpu NAME or NAME-vN):\n${cpuModels.join('\n')}\n\nFeatures:\n${cpuFeatures.join(' ')}`
  }
  draft.cpu = parseCpuText(text, (message, remedy) => new OptionError(`-cpu ${message}`, { option: '-cpu', remedy }))
}

/** `-overcommit`. */
export function readOvercommit(draft: RunDraft, text: string): void {
  for (const [key, value] of lastOfEach(parseOptionText(text, undefined, ['cpu-pm', 'mem-lock']))) {
    const known = key === 'cpu-pm' || (key === 'mem-lock' && value === 'off')
    if (!known || (value !== 'on' && value !== 'off')) {
      throw new OptionError(`-overcommit does not have '${key}=${value}'`, {
        option: '-overcommit',
        remedy: "It takes 'cpu-pm=on' and 'cpu-pm=off'; memory is not locked.",
      })
    }
    if (key === 'cpu-pm') draft.cpuPm = value === 'on'
  }
}

export function readMemory(draft: RunDraft, text: string): void {
  const given = lastOfEach(parseOptionText(text, 'size'))
  for (const key of given.keys()) {
    if (key === 'size') continue
    const remedy = "Use '-m SIZE'. Memory cannot be added while a guest runs."
    throw new OptionError(`-m has no parameter '${key}'`, { option: '-m', remedy })
  }
  const size = given.get('size') ?? ''
  // QEMU takes an empty size and 0 for its default.
  const bytes = size === '' ? 0 : parseSize(size)
  if (typeof bytes === 'string') {
    const message = `-m expects a size below 2^53 bytes, and not '${size}'`
    throw new OptionError(message, { option: '-m', remedy: "For example '-m 64M', '-m 1.5G', or '-m 128' for MiB." })
  }
  if (bytes === 0) delete draft.memory
  // As QEMU: to the next 8 KiB.
  else draft.memory = Math.ceil(bytes / 8192) * 8192
}

const topology = ['sockets', 'dies', 'clusters', 'cores', 'threads'] as const

export function readSmp(draft: RunDraft, text: string): void {
  const given = new Map<string, number>()
  for (const [key, value] of lastOfEach(parseOptionText(text, 'cpus'))) {
    if (key !== 'cpus' && key !== 'maxcpus' && !topology.some(level => level === key)) {
      const known = ['cpus', 'maxcpus', ...topology]
      throw new OptionError(`-smp has no parameter '${key}'.${didYouMean(key, known)}`, {
        option: '-smp',
        remedy: `It takes ${either(known)}.`,
      })
    }
    const count = parseUint32(value)
    if (typeof count === 'string' || count < 1 || count > MAX_CPUS) {
      const message = `-smp ${key}= expects a whole number from 1 to ${MAX_CPUS}, and not '${value}'`
      throw new OptionError(message, { option: '-smp', remedy: "For example '-smp 2'." })
    }
    given.set(key, count)
  }
  const levels = topology.filter(level => given.has(level))
  const product = levels.reduce((cpus, level) => cpus * (given.get(level) ?? 1), 1)
  const cpus = given.get('cpus') ?? given.get('maxcpus') ?? product
  if ((given.get('maxcpus') ?? cpus) !== cpus) {
    const remedy = "vCPUs cannot be added while a guest runs: leave out 'maxcpus'."
    throw new OptionError(`-smp has maxcpus=${given.get('maxcpus')} for ${cpus} vCPUs`, { option: '-smp', remedy })
  }
  // QEMU fills in the levels that were left out, so fewer can only fail when they do not divide the vCPUs.
  if (cpus % product !== 0 || cpus > MAX_CPUS) {
    const message = `-smp: ${levels.map(level => `${level}=${given.get(level)}`).join(' * ')} does not make ${cpus} vCPUs`
    throw new OptionError(message, {
      option: '-smp',
      remedy: `Leave out the topology: '-smp ${Math.min(cpus, MAX_CPUS)}'.`,
    })
  }
  if ((given.get('clusters') ?? 1) > 1) {
    const remedy = 'x86 has sockets, dies, cores and threads.'
    throw new OptionError('-smp: clusters are not part of this topology', { option: '-smp', remedy })
  }
  draft.cpus = cpus
  delete draft.topology
  if (levels.length > 0) {
    const { clusters: _, ...rest } = Object.fromEntries(given)
    const complete = completeTopology(cpus, rest)
    if (complete.sockets * complete.dies * complete.cores * complete.threads !== cpus) {
      const message = `-smp: ${levels.map(level => `${level}=${given.get(level)}`).join(' * ')} does not make ${cpus} vCPUs`
      throw new OptionError(message, { option: '-smp', remedy: `Leave out the topology: '-smp ${cpus}'.` })
    }
    draft.topology = complete
  }
}

export function readDevice(draft: RunDraft, text: string): string | void {
  const given = lastOfEach(parseOptionText(text, 'driver'))
  const driver = given.get('driver') ?? ''
  if (isHelp(driver)) return 'Devices:\nisa-debug-exit  a port whose write ends the machine (iobase=0x501, iosize=2)'
  if (driver !== 'isa-debug-exit') {
    const remedy = "The only device that can be added is 'isa-debug-exit'; COM1 is always there."
    throw new OptionError(`-device does not have '${driver}'`, { option: '-device', remedy })
  }
  const debugExit = { iobase: 0x501, iosize: 2 }
  for (const [key, value] of given) {
    if (key === 'driver' || key === 'id') continue
    if (key !== 'iobase' && key !== 'iosize') {
      const message = `-device isa-debug-exit has no property '${key}'.${didYouMean(key, ['iobase', 'iosize'])}`
      throw new OptionError(message, {
        option: '-device',
        remedy: "For example '-device isa-debug-exit,iobase=0xf4,iosize=4'.",
      })
    }
    const number = parseUint32(value)
    if (typeof number === 'string') {
      const message = `-device isa-debug-exit,${key}= expects a number, and not '${value}'`
      throw new OptionError(message, { option: '-device', remedy: 'Decimal, or hexadecimal with 0x.' })
    }
    debugExit[key] = number
  }
  const { iobase, iosize } = debugExit
  if (iosize < 1 || iosize > 8 || iobase + iosize > 0x1_0000) {
    const message = `-device isa-debug-exit: ${iosize} ports at 0x${iobase.toString(16)} are not among the 65536 ports, or not 1 to 8`
    throw new OptionError(message, { option: '-device', remedy: "For example 'iobase=0xf4,iosize=4'." })
  }
  draft.debugExit = debugExit
}

export function readSerial(draft: RunDraft, text: string): void {
  if (draft.serial !== undefined) {
    // QEMU numbers the ports by the order of -serial; `none` leaves a port out.
    if (text === 'none') return
    throw new OptionError('-serial was given before, and there is only COM1', {
      option: '-serial',
      remedy: 'Give it once.',
    })
  }
  if (text === 'stdio') draft.serial = 'stdio'
  else if (text === 'null' || text === 'none') draft.serial = 'null'
  else if (text.startsWith('file:') && text.length > 'file:'.length) draft.serial = { file: text.slice('file:'.length) }
  else {
    const remedy =
      text === 'mon:stdio'
        ? "There is no monitor to share the terminal with: use '-serial stdio'."
        : 'Use stdio, null, none or file:PATH.'
    throw new OptionError(`-serial does not have '${text}'`, { option: '-serial', remedy })
  }
}

export function readName(draft: RunDraft, text: string): void {
  for (const [key, value] of lastOfEach(parseOptionText(text, 'guest'))) {
    if (key !== 'guest') {
      const message = `-name has no parameter '${key}'.${didYouMean(key, ['guest'])}`
      throw new OptionError(message, { option: '-name', remedy: "Use '-name NAME'." })
    }
    draft.name = value
  }
}

/** An option whose only possible argument says that there is none of it. */
export function readNone(option: string): (draft: RunDraft, text: string) => void {
  return (_, text) => {
    if (text === 'none') return
    throw new OptionError(`${option} does not have '${text}'`, {
      option,
      remedy: `There is no display: use '${option} none', or leave it out.`,
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
    'Properties, all of which say what is so anyway:',
    ...properties,
    `${'bus-lock-ratelimit=N'.padEnd(27)} bus locks in a second before the guest is slowed down; 0: no limit`,
    `${'kernel-irqchip=, kvm-shadow-mem='.padEnd(27)} as with -accel kvm,…`,
  ].join('\n')
}

function isHelp(text: string): boolean {
  return text === 'help' || text === '?'
}
