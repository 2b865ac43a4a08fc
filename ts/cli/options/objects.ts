import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import type { HugePageSize, MemoryOptions } from '../../machine/config/memory.js'
import { formatSize } from '../../schema/size.js'
import type { OptionPair } from '../../properties/option-text.js'
import type { ObjectDraft } from '../draft/board-draft.js'
import { optionSentences } from '../parameters/option-sentences.js'
import {
  id as name,
  isHelp,
  onOff,
  only,
  optionPairs,
  parametersHelp,
  readParameters,
  required,
  size,
  text,
  type Given,
  type Parameters,
  type Subject,
} from '../parameters/parameters.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'
import { addUnique } from '../parameters/unique.js'

const memory = {
  id: name,
  size: { ...size('B'), about: optionSentences['MemoryOptions.size'] },
  share: { ...onOff, about: optionSentences['MemoryOptions.share'] },
  prealloc: { ...onOff, about: optionSentences['MemoryOptions.prealloc'] },
  merge: only('off', 'guest memory is not offered for merging'),
  dump: only('on', '-machine dump-guest-core= decides what a core dump contains'),
  reserve: only('on', 'the host decides whether it reserves swap space'),
  policy: only('default', 'there is no NUMA policy'),
}

const fileMemory = {
  ...memory,
  'mem-path': { ...text('PATH'), about: optionSentences['MemoryOptions.path'] },
  readonly: only('off', 'guest memory can be written'),
  pmem: only('off', 'the file is not persistent memory'),
  'discard-data': only('off', 'the file keeps its contents'),
}

const memfdMemory = {
  ...memory,
  hugetlb: { ...onOff, about: optionSentences['MemoryOptions.hugePages'] },
  hugetlbsize: size('B'),
  seal: only('on', 'its size cannot be changed'),
}

type Made = { readonly id: string | undefined; readonly object: ObjectDraft }

/** A kind of objects. */
interface ObjectKind {
  readonly parameters: Parameters
  readonly make: (subject: Subject, pairs: readonly OptionPair[]) => Made
}

function kind<P extends Parameters>(parameters: P, make: (subject: Subject, given: Given<P>) => Made): ObjectKind {
  return { parameters, make: (subject, pairs) => make(subject, readParameters(subject, pairs, parameters)) }
}

const kinds: Readonly<Record<string, ObjectKind>> = {
  'rng-random': kind(
    { id: name, filename: { ...text('PATH'), about: optionSentences['RngOptions.source'] } },
    (_, given) => ({
      id: given.id,
      object: { kind: 'rng', source: given.filename ?? '/dev/urandom' },
    }),
  ),
  'rng-builtin': kind({ id: name }, (_, { id }) => ({ id, object: { kind: 'rng', source: '/dev/urandom' } })),
  // Shared memory without a file is a memfd.
  'memory-backend-ram': kind(memory, (subject, given) =>
    ofMemory(subject, given, given.share ? { backend: 'memfd' } : { backend: 'anonymous' }),
  ),
  'memory-backend-file': kind(fileMemory, (subject, given) => {
    const path = required(subject, 'mem-path', given['mem-path'], `${subject.what},id=ram,size=128M,mem-path=/dev/shm`)
    return ofMemory(subject, given, { backend: 'file', path, share: given.share ?? false })
  }),
  'memory-backend-memfd': kind(memfdMemory, (subject, given) =>
    ofMemory(subject, given, {
      backend: 'memfd',
      share: given.share ?? true,
      ...(given.hugetlb && { hugePages: hugePageSize(subject, given.hugetlbsize ?? 2 ** 21) }),
    }),
  ),
}

/** The options of objects that devices and the board refer to. */
export const objectOptions: readonly RunOption[] = [
  {
    name: '-object',
    words: [...Object.keys(kinds), 'help'],
    argument: 'rng-random,id=ID[,filename=PATH]|memory-backend-ram|file|memfd,id=ID,size=SIZE…',
    repeated: 'adds',
    about: 'A source of random bytes for virtio-rng-device, or guest memory for -machine memory-backend=.',
    differs: 'No other objects. No NUMA policy, prealloc-threads=, reserve=off, readonly=on or align=.',
    read: readObject,
  },
]

function ofMemory(subject: Subject, given: Given<typeof memory>, backing: Omit<MemoryOptions, 'size'>): Made {
  const bytes = required(subject, 'size', given.size, `${subject.what},id=ram,size=128M`)
  return {
    id: given.id,
    object: { kind: 'memory', memory: { size: bytes, prealloc: given.prealloc ?? false, ...backing } },
  }
}

function hugePageSize({ option, what }: Subject, bytes: number): HugePageSize {
  if (bytes === 2 ** 21) return '2M'
  if (bytes === 2 ** 30) return '1G'
  throw new OptionError(`${what}: hugetlbsize= expects 2M or 1G, and not '${formatSize(bytes)}'`, {
    option,
    remedy: 'x86 has huge pages of 2M and 1G.',
  })
}

function readObject(draft: RunDraft, argument: string): string | void {
  const option = '-object'
  const pairs = optionPairs(option, argument, 'qom-type')
  const type = pairs.findLast(({ key }) => key === 'qom-type')?.value ?? ''
  if (isHelp(type))
    return ['List of user creatable objects:', ...Object.keys(kinds).map(name => `  ${name}`)].join('\n')
  const found = Object.hasOwn(kinds, type) ? kinds[type] : undefined
  if (found === undefined) {
    const names = Object.keys(kinds)
    const message = `-object: unknown type '${type}'.${didYouMean(type, names)}`
    throw new OptionError(message, { option, remedy: `Use ${either(names)}.` })
  }
  const rest = pairs.filter(({ key }) => key !== 'qom-type')
  if (rest.some(({ key, bare }) => bare && isHelp(key))) return parametersHelp(type, found.parameters)
  const { id, object } = found.make({ option, what: `-object ${type}` }, rest)
  addUnique(
    option,
    draft.objects,
    required({ option, what: `-object ${type}` }, 'id', id, `-object ${type},id=object0,…`),
    object,
  )
}
