import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean } from '../../errors/suggest.js'
import { absentOptions } from '../options/absent.js'
import { checkMachine } from '../options/board.js'
import { processOptions } from '../options/process.js'
import { refusedOptions } from './refused-options.js'
import { emptyDraft, type RunDraft } from '../draft/run-draft.js'
import { runOptions, type RunOption } from './run-options.js'

/** Options that are allowed beside `-config`, whose file describes a whole machine. */
const besideConfig: ReadonlySet<RunOption> = new Set([...processOptions, ...absentOptions])

/**
 * Reads all options.
 *
 * @returns The draft, or the text that an option prints instead of running a machine.
 */
export function readArgv(argv: readonly string[]): RunDraft | string {
  const draft = emptyDraft()
  let ofMachine: RunOption | undefined
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
    if (!besideConfig.has(option)) ofMachine ??= option
  }
  checkMachine(draft)
  if (draft.config !== undefined && ofMachine !== undefined) {
    const message = `-config and ${ofMachine.name} exclude each other: a configuration file describes the whole machine`
    throw new OptionError(message, { option: ofMachine.name, remedy: `Change the option in the file.` })
  }
  return draft
}

function findOption(word: string): RunOption {
  if (!word.startsWith('-') || word === '-') {
    const remedy = `For a disk use '-drive file=${word},format=raw,if=virtio'.`
    const message = `'${word}' is not an option. QEMU opens such a word as a disk image on IDE, which kvm-accel does not support`
    throw new OptionError(message, { option: word, remedy })
  }
  const name = word.startsWith('--') ? word.slice(1) : word
  const option = runOptions.find(option => option.name === name || option.aliases?.includes(name))
  if (option === undefined) throw noOption(word, name)
  return option
}

function noOption(word: string, name: string): OptionError {
  const refused = refusedOptions.find(({ names }) => names.includes(name))
  if (refused !== undefined) {
    return new OptionError(`${word}: kvm-accel has no ${refused.lacks}`, { option: name, remedy: refused.remedy })
  }
  const [before = '', after = ''] = name.split(/=(.*)/s)
  if (runOptions.some(option => option.name === before)) {
    const remedy = `QEMU's options take their argument as the next word: '${before} ${after}'.`
    return new OptionError(`${word}: kvm-accel does not have this option.`, { option: name, remedy })
  }
  const names = runOptions.flatMap(({ name, aliases = [] }) => [name, ...aliases])
  return new OptionError(`${word}: kvm-accel does not have this option.${didYouMean(name, names)}`, {
    option: name,
    remedy: "'kvm-accel run --help' lists the options.",
  })
}
