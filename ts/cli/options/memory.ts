import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean } from '../../errors/suggest.js'
import type { MachineOptions } from '../../machine/config/machine-options.js'
import type { MemoryOptions } from '../../machine/config/memory.js'
import { formatSize, parseSize } from '../../schema/size.js'
import { parseOptionText } from '../../properties/option-text.js'
import { optionSentences } from '../parameters/option-sentences.js'
import { lastOfEach, type RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'

/** The options of guest memory. */
export const memoryOptions: readonly RunOption[] = [
  {
    name: '-m',
    argument: '[size=]SIZE[,maxmem=SIZE]',
    repeated: 'last wins',
    about: optionSentences['MachineOptions.memory'],
    differs: 'Refused: less than 1 MiB, maxmem= other than the size, and slots= other than 0.',
    read: readMemory,
  },
  {
    name: '-mem-path',
    argument: 'PATH',
    repeated: 'last wins',
    about: optionSentences['MemoryOptions.path'],
    differs: '',
    read: (draft, path) => void (draft.memPath = path),
  },
  {
    name: '-mem-prealloc',
    repeated: 'no effect',
    about: optionSentences['MemoryOptions.prealloc'],
    differs: '',
    read: draft => void (draft.memPrealloc = true),
  },
]

function readMemory(draft: RunDraft, text: string): void {
  const given = lastOfEach(parseOptionText(text, 'size'))
  for (const key of given.keys()) {
    if (key === 'size' || key === 'maxmem' || (key === 'slots' && given.get(key) === '0')) continue
    const remedy = "Use '-m SIZE'. Memory cannot be added while a guest runs."
    throw new OptionError(`-m: unknown parameter '${key}'.${didYouMean(key, ['size', 'maxmem'])}`, {
      option: '-m',
      remedy,
    })
  }
  const size = readSize(given.get('size') ?? '')
  const most = given.get('maxmem')
  if (most !== undefined && readSize(most) !== (size ?? 128 * 2 ** 20)) {
    const remedy = "Memory cannot be added while a guest runs: leave out 'maxmem'."
    throw new OptionError(`-m: maxmem=${most} differs from the size`, { option: '-m', remedy })
  }
  if (size === undefined) delete draft.memory
  else draft.memory = size
}

/**
 * Reads a size in bytes, rounded up to 8 KiB as in QEMU. Returns undefined for an empty size and
 * for 0: QEMU then uses its default.
 */
function readSize(text: string): number | undefined {
  const bytes = text === '' ? 0 : parseSize(text)
  if (typeof bytes === 'string') {
    const message = `-m expects a size below 2^53 bytes, and not '${text}'`
    throw new OptionError(message, { option: '-m', remedy: "For example '-m 64M', '-m 1.5G', or '-m 128' for MiB." })
  }
  return bytes === 0 ? undefined : Math.ceil(bytes / 8192) * 8192
}

/** Returns the option `memory`. `-mem-path` and `-machine memory-backend=` exclude each other. */
export function memoryOption(draft: RunDraft): Pick<MachineOptions, 'memory'> {
  const { memory: size, memPath: path, memPrealloc: prealloc } = draft
  const id = draft.machine.get('memory-backend')
  if (id !== undefined) return { memory: backendMemory(draft, id) }
  if (path === undefined && !prealloc) return size === undefined ? {} : { memory: size }
  return { memory: { size: size ?? '128M', prealloc, ...(path !== undefined && { path }) } }
}

function backendMemory({ objects, memory: size, memPath }: RunDraft, id: string): MemoryOptions {
  const option = '-machine'
  const object = objects.get(id)
  if (object?.kind !== 'memory') {
    const message = `-machine memory-backend=: unknown memory object '${id}'.${didYouMean(id, objects.keys())}`
    throw new OptionError(message, { option, remedy: `Create it with '-object memory-backend-memfd,id=${id},size=…'.` })
  }
  if (memPath !== undefined) {
    const remedy = "Use mem-path= of '-object memory-backend-file'."
    throw new OptionError('-mem-path and -machine memory-backend= exclude each other', { option: '-mem-path', remedy })
  }
  if (size !== undefined && size !== object.memory.size) {
    const message = `-m ${formatSize(size)} differs from the size of memory-backend '${id}': ${formatSize(object.memory.size)}`
    throw new OptionError(message, { option: '-m', remedy: 'Leave out -m: the back end gives the size.' })
  }
  return object.memory
}
