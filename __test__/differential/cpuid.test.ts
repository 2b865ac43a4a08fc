// Every CPUID leaf that kvm-accel and QEMU give a guest, as KVM_SET_CPUID2 gets it. The comparison is at the call,
// because some hosts show the guest their own bits in leaves 1, 7 and 0xd. Without arch-capabilities, because QEMU
// aborts on hosts whose KVM offers the feature and refuses its MSR 0x10a.

import { setTimeout } from 'node:timers/promises'
import { guestFile } from '../helpers/guest-file.js'
import { interpose } from '../helpers/interpose.js'
import { cli } from '../helpers/paths.js'
import { kvm, preload, qemu, requires } from '../helpers/requires.js'
import { start } from '../helpers/spawn.js'

const test = requires(kvm, preload, qemu)

type Registers = readonly [eax: number, ebx: number, ecx: number, edx: number]
const NONE: Registers = [0, 0, 0, 0]

/** The tables of a machine's vCPUs: registers by leaf and subleaf, in hexadecimal. Leaves of zeroes are left out. */
type Table = ReadonlyMap<string, Registers>

const tables = async (program: string, first: readonly string[], cpu: string): Promise<readonly Table[]> => {
  const { env, calls } = interpose('')
  const machine = ['-M', 'microvm', '-accel', 'kvm,kernel-irqchip=on', '-m', '16M', '-smp', '2', '-cpu', cpu]
  const devices = ['-nodefaults', '-no-user-config', '-display', 'none', '-kernel', guestFile('spin')]
  const { child, finished } = start(program, [...first, ...machine, ...devices], { env })
  const found = (): Table[] => calls().flatMap(({ leaves }) => (leaves === undefined ? [] : [read(leaves)]))
  let ended = false
  void finished.then(() => (ended = true))
  // The guest never ends. QEMU sets the leaves a second time when it resets a vCPU.
  while (!ended && found().length < 2) await setTimeout(10)
  child.kill('SIGKILL')
  const { stderr } = await finished
  if (found().length < 2) throw new Error(`${program} has not created 2 vCPUs: ${stderr}`)
  return found().slice(0, 2)
}

const read = (leaves: string): Table => {
  const table = new Map<string, Registers>()
  for (const [, leaf = '', registers = ''] of leaves.matchAll(/(\S+)\.[0-9a-f]+:(\S+)/g)) {
    const [eax = 0, ebx = 0, ecx = 0, edx = 0] = registers.split(',').map(word => Number.parseInt(word, 16))
    if (eax || ebx || ecx || edx) table.set(leaf, [eax, ebx, ecx, edx])
  }
  return table
}

/** A difference that must be, and its reason. */
interface Difference {
  readonly leaf: RegExp
  /** Bits of EAX to EDX that differ; all by default. */
  readonly bits?: Registers
  /** Why they differ. */
  readonly reason: string
}

const ofTheHost: readonly Difference[] = [
  {
    leaf: /^40000001\.0$/,
    bits: [(1 << 7) | (1 << 9) | (1 << 11) | (1 << 13), 0, 0, 0],
    reason: 'features with hypercalls are off by default, because hypercalls do not return on some hosts',
  },
  {
    leaf: /^40000001\.0$/,
    bits: [1 << 10, 0, 0, 0],
    reason: 'QEMU 7.2 does not know kvm-asyncpf-vmexit',
  },
  {
    leaf: /^(2|4|80000005|80000006|8000001d)\./,
    reason: "the host's caches, as with QEMU's host-cache-info=on, whose default is off",
  },
  {
    leaf: /^80000001\.0$/,
    bits: [0, 0, 1 << 22, 0],
    reason: 'topoext: caches and topology agree here, which QEMU does not assume',
  },
  { leaf: /^8000001e\.0$/, reason: 'needs topoext' },
  {
    leaf: /^(8000001a|80000021|80000022|8000001f|7\.[12]|14\.\d|19\.0|23\.\d|24\.\d)/,
    reason: 'offered by KVM, unknown to QEMU 7.2',
  },
  {
    leaf: /^d\.1$/,
    bits: [0, 0xffff_ffff, 0, 0],
    reason: 'the size of the compact XSAVE area, which KVM keeps up to date if the guest has XSAVEC',
  },
  {
    leaf: /^8000000a\.0$/,
    bits: [0, 0xffff_ffff, 0, 0],
    reason: 'the number of ASIDs that KVM reports; QEMU reports 16 on any host',
  },
  {
    leaf: /^80000008\.0$/,
    bits: [0, 0xffff_ffff, 0, 0],
    reason: 'QEMU does not migrate features that it does not name',
  },
]

/** `-cpu`, and the differences beyond those of every CPU. */
const cpus: Readonly<Record<string, readonly Difference[]>> = {
  'host,migratable=on,-arch-capabilities': ofTheHost,
  'max,migratable=on,-arch-capabilities': ofTheHost,
  'host,migratable=off,-arch-capabilities': ofTheHost,
  qemu64: [],
  kvm64: [],
  'Nehalem-v1': [],
  'Westmere-v2': [],
  'SandyBridge-v1': [],
  'IvyBridge-v2': [],
  'Haswell-v4': [],
  'Broadwell-v1': [],
  'Skylake-Client-v4': [],
  'Skylake-Server-v5': [],
  'Cascadelake-Server-v5,-arch-capabilities': [],
  'Icelake-Server-v6,-arch-capabilities': [],
  'EPYC-v1': [],
  'EPYC-v3': [],
  'EPYC-Rome-v2': [],
  'EPYC-Milan-v1': [],
  'Haswell-v4,vendor=GenuineIntel': [],
  'EPYC-v3,vendor=GenuineIntel': [],
  'Haswell-v4,vendor=AuthenticAMD': [],
  'Skylake-Server-v1,-avx512f,+kvm-pv-unhalt': [],
}

const differences = (ours: Table, theirs: Table, allowed: readonly Difference[]): string[] => {
  const text = (registers: Registers): string => registers.map(word => word.toString(16).padStart(8, '0')).join(' ')
  return [...new Set([...ours.keys(), ...theirs.keys()])].toSorted().flatMap(leaf => {
    const [mine, other] = [ours.get(leaf) ?? NONE, theirs.get(leaf) ?? NONE]
    const known = allowed.filter(difference => difference.leaf.test(leaf))
    const differs = mine.some((word, index) => {
      const bits = known.reduce((mask, one) => mask | (one.bits?.[index] ?? 0xffff_ffff), 0)
      return (word & ~bits) !== ((other[index] ?? 0) & ~bits)
    })
    return differs ? [`${leaf}: ${text(mine)}, QEMU has ${text(other)}`] : []
  })
}

for (const [cpu, allowed] of Object.entries(cpus)) {
  test(`-cpu ${cpu} has the leaves that it has in QEMU`, async t => {
    const ours = await tables(process.execPath, [cli, 'run'], cpu)
    const theirs = await tables('qemu-system-x86_64', [], cpu)
    for (const [index, table] of ours.entries()) {
      t.deepEqual(differences(table, theirs[index] ?? new Map(), allowed), [], `vCPU ${index}`)
    }
  })
}
