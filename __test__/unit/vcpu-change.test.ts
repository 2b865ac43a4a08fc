import test from 'ava'
import { ArgumentError } from '../../ts/errors/index.js'
import { changed } from '../../ts/machine/debug/vcpu-change.js'
import type { VcpuState, VcpuStateChange } from '../../ts/machine/debug/vcpu-state.js'

const words = <K extends string>(...names: K[]): Record<K, bigint> =>
  Object.fromEntries(names.map((name, at) => [name, BigInt(at)])) as Record<K, bigint>

const segment = { selector: 8, base: 0n, limit: 0xffff, attributes: 0x93 }

const state: VcpuState = {
  general: {
    ...words('rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp'),
    ...words('r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags'),
  },
  segments: { es: segment, cs: segment, ss: segment, ds: segment, fs: segment, gs: segment, ldt: segment, tr: segment },
  tables: { gdt: { base: 0n, limit: 0x17 }, idt: { base: 0n, limit: 0xfff } },
  control: { ...words('cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'), pdptrs: undefined },
  xcr0: 1n,
  xsave: new Uint8Array(4096),
  msrs: new Map([
    [0x10, 5n],
    [0x174, 6n],
  ]),
  events: {
    exception: undefined,
    interrupt: undefined,
    interruptShadow: 0,
    nmi: { injected: false, pending: 0, masked: false },
    sipiVector: 0,
    smi: { smm: false, pending: false, smmInsideNmi: false, latchedInit: false },
    tripleFault: false,
  },
  debug: words('dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'),
  mpState: 'runnable',
  lapic: undefined,
  nested: undefined,
  tscKhz: undefined,
}

test('values that a change does not name are unchanged', t => {
  t.deepEqual(changed(state, {}), state)
  t.deepEqual(changed(state, state), state)
})

test('a change sets single registers, MSRs and events', t => {
  const next = changed(state, {
    general: { rip: 2n ** 64n - 1n },
    segments: { fs: { base: 0x7000n } },
    msrs: new Map([[0x174, 7n]]),
    events: { tripleFault: true, exception: { vector: 14, injected: false, errorCode: 2, payload: 0x1000n } },
  })
  t.is(next.general.rip, 2n ** 64n - 1n)
  t.is(next.general.rbx, state.general.rbx)
  t.deepEqual(next.segments.fs, { ...segment, base: 0x7000n })
  t.deepEqual([...next.msrs], [[0x10, 5n], [0x174, 7n]]) // prettier-ignore
  t.deepEqual(next.events.exception, { vector: 14, injected: false, errorCode: 2, payload: 0x1000n })
  t.true(next.events.tripleFault)
  t.is(changed(next, { events: { exception: undefined } }).events.exception, undefined)
})

for (const [name, change, message] of [
  ['an unknown register', { general: { eax: 1n } }, /unknown register 'general\.eax'\. Did you mean 'rax'\?/],
  ['a number for a bigint', { general: { rip: 1 } }, /general\.rip 1: expected a bigint/],
  ['a negative value', { control: { cr3: -1n } }, /control\.cr3/],
  ['65 bits', { debug: { dr0: 2n ** 64n } }, /debug\.dr0/],
  [
    'a selector of 17 bits',
    { segments: { cs: { selector: 0x10000 } } },
    /cs\.selector 65536: expected .* from 0 to 65535/,
  ],
  ['a table limit of 17 bits', { tables: { gdt: { limit: 0x10000 } } }, /gdt\.limit 65536: expected .* 0 to 65535/],
  ['a fraction', { events: { sipiVector: 1.5 } }, /sipiVector/],
  ['a vector of 9 bits', { events: { interrupt: { vector: 256, soft: false } } }, /vector 256: expected .* 0 to 255/],
  ['an MSR that is not listed', { msrs: new Map([[0x999, 1n]]) }, /0x999/],
  ['an area of another size', { xsave: new Uint8Array(512) }, /512 bytes.*4096/],
] as const) {
  test(`${name} is refused`, t => {
    t.throws(() => changed(state, change as unknown as VcpuStateChange), { instanceOf: ArgumentError, message })
  })
}
