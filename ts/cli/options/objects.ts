import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import type { HugePageSize, MemoryOptions } from '../../machine/config/memory.js'
import type { OptionPair } from '../../properties/option-text.js'
import type { ObjectDraft } from '../draft/board-draft.js'
import {
  id as name,
  onOff,
  only,
  optionPairs,
  readParameters,
  required,
  size,
  text,
  type Given,
  type Subject,
} from '../parameters/parameters.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'
import { addUnique } from '../parameters/unique.js'

/** The options of objects that devices and the board refer to. */
export const objectOptions: readonly RunOption[] = [
  {
    name: '-object',
    argument: 'rng-random,id=ID[,filename=PATH]|memory-backend-ram|file|memfd,id=ID,size=SIZE…',
    repeated: 'adds',
    about: 'random bytes for virtio-rng-device, or guest memory for -machine memory-backend=',
    differs: 'No other objects. No NUMA policy, prealloc-threads=, reserve=off, readonly=on or align=.',
    read: readObject,
  },
]

const memory = {
  id: name,
  size: size('B'),
  share: onOff,
  prealloc: onOff,
  merge: only('off', 'guest memory is not offered for merging'),
  dump: only('on', 'the host decides what a core dump has'),
  reserve: only('on', 'the host decides what is reserved'),
  policy: only('default', 'there is no NUMA policy'),
}

const fileMemory = {
  ...memory,
  'mem-path': text('PATH'),
  readonly: only('off', 'guest memory can be written'),
  pmem: only('off', 'the file is no persistent memory'),
  'discard-data': only('off', 'what is in the file stays there'),
}

const memfdMemory = {
  ...memory,
  hugetlb: onOff,
  hugetlbsize: size('B'),
  seal: only('on', 'its size cannot be changed'),
}

type Made = { readonly id: string | undefined; readonly object: ObjectDraft }

const kinds: Readonly<Record<string, (subject: Subject, pairs: readonly OptionPair[]) => Made>> = {
  'rng-random': (subject, pairs) => {
    const { id, filename } = readParameters(subject, pairs, { id: name, filename: text('PATH') })
    return { id, object: { kind: 'rng', source: filename ?? '/dev/urandom' } }
  },
  'rng-builtin': (subject, pairs) => {
    return { id: readParameters(subject, pairs, { id: name }).id, object: { kind: 'rng', source: '/dev/urandom' } }
  },
  'memory-backend-ram': (subject, pairs) => {
    const given = readParameters(subject, pairs, memory)
    // Shared memory without a file is a memfd.
    return ofMemory(subject, given, given.share ? { backend: 'memfd' } : { backend: 'anonymous' })
  },
  'memory-backend-file': (subject, pairs) => {
    const given = readParameters(subject, pairs, fileMemory)
    const path = required(subject, 'mem-path', given['mem-path'], `${subject.what},id=ram,size=128M,mem-path=/dev/shm`)
    return ofMemory(subject, given, { backend: 'file', path, share: given.share ?? false })
  },
  'memory-backend-memfd': (subject, pairs) => {
    const given = readParameters(subject, pairs, memfdMemory)
    return ofMemory(subject, given, {
      backend: 'memfd',
      share: given.share ?? true,
      ...(given.hugetlb && { hugePages: hugePageSize(subject, given.hugetlbsize ?? 2 ** 21) }),
    })
  },
}

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
  throw new OptionError(`${what}: hugetlbsize= expects 2M or 1G`, {
    option,
    remedy: 'x86 has huge pages of 2M and 1G.',
  })
}

function readObject(draft: RunDraft, argument: string): void {
  const option = '-object'
  const pairs = optionPairs(option, argument, 'qom-type')
  const type = pairs.findLast(({ key }) => key === 'qom-type')?.value ?? ''
  const make = Object.hasOwn(kinds, type) ? kinds[type] : undefined
  if (make === undefined) {
    const names = Object.keys(kinds)
    const message = `-object does not have '${type}'.${didYouMean(type, names)}`
    throw new OptionError(message, { option, remedy: `It has ${either(names)}.` })
  }
  const subject = { option, what: `-object ${type}` }
  const { id, object } = make(
    subject,
    pairs.filter(({ key }) => key !== 'qom-type'),
  )
  addUnique(option, draft.objects, required(subject, 'id', id, `-object ${type},id=object0,…`), object)
}
