// Command lines, configuration files and structures of the kernel generated at random: each is
// accepted or refused by an error with a code and a remedy.

import test, { type ExecutionContext } from 'ava'
import fc from '../helpers/random.js'
import { runFiles } from '../helpers/run-files.js'
import { inspect } from 'node:util'
import { readConfig } from '../../ts/cli/argv/config-file.js'
import { resolveRun } from '../../ts/cli/argv/resolve-run.js'
import { runOptions } from '../../ts/cli/argv/run-options.js'
import { deviceModels } from '../../ts/cli/devices/index.js'
import { KvmAccelError } from '../../ts/errors/index.js'
import { explicitOptions, normaliseMachineOptions } from '../../ts/machine/config/normal-options.js'
import * as runPage from '../../ts/kvm/generated/run-page.js'
import * as vcpuStructs from '../../ts/kvm/generated/vcpu-structs.js'
import * as vmStructs from '../../ts/kvm/generated/vm-structs.js'

/** Returns the result of `read`; undefined if it was refused by an error of this package. */
function accepted<T>(t: ExecutionContext, read: () => T, input: unknown): T | undefined {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof KvmAccelError))
      throw new Error(`not an error of ours for ${inspect(input)}`, { cause: error })
    t.regex(error.code, /^ERR_[A-Z_]+$/)
    t.true(error.message.length > 0)
    return undefined
  }
}

/** A machine's options after a round through `-print-config` and `-config`. */
const printed = (text: string): string =>
  JSON.stringify(explicitOptions(normaliseMachineOptions(readConfig('f', () => text))), null, 2)

const words = fc.oneof(
  fc.constantFrom(
    'on',
    'off',
    '0',
    '1',
    '-1',
    '64K',
    '1T',
    '99999999999999999999',
    'kvm',
    'pc',
    'host',
    'null',
    'stdio',
  ),
  fc.constantFrom(
    'id=a',
    'drive=a',
    'netdev=a',
    'chardev=a',
    'file=f',
    'if=none',
    'help',
    '?',
    ',',
    ',,',
    '=',
    ':',
    '..',
  ),
  fc.constantFrom(...deviceModels.map(({ name }) => name)),
  fc.string({ maxLength: 20 }),
)
const argument = fc.array(words, { maxLength: 5 }).map(parts => parts.join(','))
const option = fc.constantFrom(...runOptions.flatMap(({ name, aliases = [] }) => [name, ...aliases]))

test('every command line is accepted or refused with a code, and what is accepted can be printed and read', t => {
  const entry = fc.tuple(option, argument).map(([name, text]) => {
    const taken = runOptions.find(one => one.name === name || one.aliases?.includes(name))
    const dashed = name.startsWith('-') ? name : `-${name}`
    return taken?.argument === undefined ? [dashed] : [dashed, text]
  })
  const argv = fc.oneof(
    fc.array(entry, { maxLength: 6 }).map(entries => ['-kernel', 'k', ...entries.flat()]),
    fc.array(fc.oneof(words, argument), { maxLength: 8 }),
  )
  // Only `-config` reads a file here.
  const files = { ...runFiles, readText: () => '{}' }
  fc.assert(
    fc.property(argv, words => {
      const request = accepted(t, () => resolveRun(words, files), words)
      if (request?.kind !== 'run') return
      const options = accepted(t, () => explicitOptions(normaliseMachineOptions(request.machine)), words)
      const text = JSON.stringify(options, null, 2)
      const again = options && accepted(t, () => printed(text), words)
      if (again !== undefined) t.is(again, text)
    }),
    { numRuns: 2000 },
  )
})

/** Returns `value` with the member at `path` replaced. The numbers of a path choose members. */
function replaced(value: unknown, path: readonly number[], by: unknown): unknown {
  const [first, ...rest] = path
  if (first === undefined || typeof value !== 'object' || value === null) return by
  const keys = Object.keys(value)
  const key = keys[first % Math.max(keys.length, 1)]
  if (key === undefined) return by
  const inner = replaced(value[key as keyof typeof value], rest, by)
  return Array.isArray(value)
    ? value.map((old, index) => (String(index) === key ? inner : old))
    : { ...value, [key]: inner }
}

test('every configuration file is accepted or refused with a code', t => {
  const full = explicitOptions(
    normaliseMachineOptions({
      kernel: 'k',
      memory: '64M',
      disks: [{ path: 'd.img' }, { path: 'e.qcow2', readOnly: true }],
      networks: [{ backend: { tap: 'tap0' } }],
      consoles: [{ target: 'pty' }],
      rng: true,
      balloon: true,
      vsock: { cid: 3 },
      serial: 'null',
      acpi: true,
      trace: ['kvm_*'],
    }),
  )
  const depth = { maxDepth: 3 }
  const value = fc.oneof(
    fc.jsonValue(depth),
    fc.constantFrom(-1, 2 ** 53, 1e308, 0.5, '', '\u0000', 'x'.repeat(10_000), null, [], {}, '__proto__', true),
  )
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 40 }), { maxLength: 4 }), value, (path, by) => {
      const text = JSON.stringify(replaced(full, path, by))
      const once = accepted(t, () => printed(text), text)
      if (once !== undefined) t.is(printed(once), once, 'the normal form is its own normal form')
    }),
    { numRuns: 2000 },
  )
  fc.assert(fc.property(fc.string(), text => void accepted(t, () => printed(text), text)))
})

test('every structure of the kernel shows any bytes, and a member changes only its own bytes', t => {
  const types = [runPage, vcpuStructs, vmStructs].flatMap(module => Object.entries(module))
  for (const [name, Type] of types) {
    const size = Type.size
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat({ max: 255 })), fc.maxSafeInteger(), (random, number) => {
        const bytes = Uint8Array.from(random.take(size))
        const view = new Type(bytes.slice().buffer)
        accepted(t, () => inspect(view, { depth: 6 }), name)
        t.deepEqual(view.bytes, bytes, `${name}: a read changes nothing`)
        for (const key of Object.keys(Object.getOwnPropertyDescriptors(Type.prototype))) {
          const { set } = Object.getOwnPropertyDescriptor(Type.prototype, key) ?? {}
          if (!set) continue
          const was = accepted(t, () => view[key as keyof typeof view] as unknown, name)
          // An address of guest memory is a number, and exact below 2 ** 53.
          if (typeof was !== 'bigint' && !Number.isSafeInteger(was)) continue
          const wanted = typeof was === 'bigint' ? BigInt(number) : number
          accepted(t, () => Object.assign(view, { [key]: wanted }), name)
          Object.assign(view, { [key]: was })
          t.deepEqual(view.bytes, bytes, `${name}.${key}: a write changes other bytes`)
        }
      }),
      { numRuns: 20 },
    )
  }
})
