import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import { cpuMembers, readCpuText } from '../../machine/config/cpu/cpu.js'
import { MAX_CPUS, completeTopology } from '../../machine/config/cpu/topology.js'
import { cpuFeatures } from '../../machine/config/cpu/features.js'
import { cpuModels } from '../../machine/config/cpu/models.js'
import { parseUint32 } from '../../schema/number.js'
import { parseOptionText } from '../../properties/option-text.js'
import { wrap } from '../parameters/columns.js'
import { isHelp, parameterRows } from '../parameters/parameters.js'
import { schemaParameters } from '../parameters/schema-options.js'
import { optionSentences } from '../parameters/option-sentences.js'
import { lastOfEach, type RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** The options of the vCPUs. */
export const processorOptions: readonly RunOption[] = [
  {
    name: '-cpu',
    words: [...cpuModels, 'help'],
    argument: 'host|max|MODEL[,+FEATURE|-FEATURE|FEATURE=on|off…][,PROPERTY=VALUE…]',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.cpu'],
    differs:
      "The default is host instead of qemu64. A model that docs/reference/cpu.md does not list becomes the host's CPU, with a warning. A missing feature causes one warning, not one for each vCPU. The default is migratable=off. Other properties are refused.",
    read: readCpu,
  },
  {
    name: '-smp',
    argument: '[cpus=]N[,maxcpus=N][,sockets=,dies=,cores=,threads=]',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.cpus'],
    differs: 'maxcpus= must equal cpus=.',
    read: readSmp,
  },
  {
    name: '-overcommit',
    argument: 'cpu-pm=on|off',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.cpuPm'],
    differs: 'No mem-lock=on. The guest does not get MONITOR and MWAIT.',
    read: readOvercommit,
  },
]

function readCpu(draft: RunDraft, text: string): string | void {
  if (isHelp(text)) {
    return cpuHelp()
  }
  draft.cpu = readCpuText(text, (message, remedy) => new OptionError(`-cpu ${message}`, { option: '-cpu', remedy }))
}

/** Lists the models, the features and the properties, as QEMU does. */
function cpuHelp(): string {
  return [
    'Available CPUs:',
    ...cpuModels.map(name => `x86 ${name}`),
    'A model may have a version: NAME-vN.',
    '',
    'Recognized CPUID flags:',
    ...wrap(cpuFeatures.join(' '), 76).map(line => `  ${line}`),
    '',
    'Properties:',
    parameterRows(schemaParameters('CpuOptions', cpuMembers)),
  ].join('\n')
}

const topology = ['sockets', 'dies', 'clusters', 'cores', 'threads'] as const

function readSmp(draft: RunDraft, text: string): void {
  const given = new Map<string, number>()
  for (const [key, value] of lastOfEach(parseOptionText(text, 'cpus'))) {
    if (key !== 'cpus' && key !== 'maxcpus' && !topology.some(level => level === key)) {
      const known = ['cpus', 'maxcpus', ...topology]
      throw new OptionError(`-smp: unknown parameter '${key}'.${didYouMean(key, known)}`, {
        option: '-smp',
        remedy: `Use ${either(known)}.`,
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
    throw new OptionError(`-smp: maxcpus=${given.get('maxcpus')} differs from the number of vCPUs, ${cpus}`, {
      option: '-smp',
      remedy,
    })
  }
  // QEMU fills in absent levels, so a smaller product is an error only if it does not divide the
  // number of vCPUs.
  if (cpus % product !== 0 || cpus > MAX_CPUS) {
    const message = `-smp: ${levels.map(level => `${level}=${given.get(level)}`).join(' * ')} does not match ${cpus} vCPUs`
    throw new OptionError(message, {
      option: '-smp',
      remedy: `Leave out the topology: '-smp ${Math.min(cpus, MAX_CPUS)}'.`,
    })
  }
  if ((given.get('clusters') ?? 1) > 1) {
    const remedy = 'Leave out clusters=: the levels of x86 are sockets, dies, cores and threads.'
    throw new OptionError(`-smp: unsupported clusters=${given.get('clusters')}: expected 1`, { option: '-smp', remedy })
  }
  draft.cpus = cpus
  delete draft.topology
  if (levels.length > 0) {
    const { clusters: _, ...rest } = Object.fromEntries(given)
    const complete = completeTopology(cpus, rest)
    if (complete.sockets * complete.dies * complete.cores * complete.threads !== cpus) {
      const message = `-smp: ${levels.map(level => `${level}=${given.get(level)}`).join(' * ')} does not match ${cpus} vCPUs`
      throw new OptionError(message, { option: '-smp', remedy: `Leave out the topology: '-smp ${cpus}'.` })
    }
    draft.topology = complete
  }
}

/** `-overcommit`. */
function readOvercommit(draft: RunDraft, text: string): void {
  for (const [key, value] of lastOfEach(parseOptionText(text, undefined, ['cpu-pm', 'mem-lock']))) {
    const known = key === 'cpu-pm' || (key === 'mem-lock' && value === 'off')
    if (!known || (value !== 'on' && value !== 'off')) {
      throw new OptionError(`-overcommit: unsupported parameter '${key}=${value}'`, {
        option: '-overcommit',
        remedy: "Use 'cpu-pm=on' or 'cpu-pm=off'. Memory cannot be locked.",
      })
    }
    if (key === 'cpu-pm') draft.cpuPm = value === 'on'
  }
}
