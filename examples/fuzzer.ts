// Fuzzes a tiny guest, guided by coverage: single-stepping shows which instructions an input reaches. The fuzzer keeps and mutates
// inputs that reach new instructions. The guest's bug needs a four-letter word, which random guessing finds once in 456976 tries.

import {
  KVM_EXIT_DEBUG,
  KVM_GUESTDBG_ENABLE,
  KVM_GUESTDBG_SINGLESTEP,
  Kvm,
  KvmGuestDebug,
  KvmRun,
  allocateMemory,
} from 'kvm-accel/kvm'

const ENTRY = 0x1000
const INPUT = 0x2000
const word = Buffer.from('GURU')

/** For each letter: cmp byte [INPUT + n], letter; jne end. Then the bug: ud2. Then end: hlt. */
const checks = [...word].flatMap((letter, n) => {
  const behind = (word.length - n - 1) * 7 + 2
  return [0x80, 0x3e, n, INPUT >> 8, letter, 0x75, behind]
})
const BUG = BigInt(ENTRY + checks.length)
const END = BUG + 2n

using kvm = new Kvm()
using vm = kvm.createVm()
const ram = new Uint8Array(allocateMemory(0x10000))
ram.set([...checks, 0x0f, 0x0b, 0xf4], ENTRY)
vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })

using vcpu = vm.createVcpu(0)
const sregs = vcpu.getSregs()
Object.assign(sregs.cs, { base: 0n, selector: 0 })
vcpu.setSregs(sregs)
const start = Object.assign(vcpu.getRegs(), { rip: BigInt(ENTRY), rflags: 2n })
const debug = new KvmGuestDebug()
debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP
const run = new KvmRun(vcpu.runPage)

/** Runs the guest from its start, and returns the addresses that it reached. */
function execute(input: Uint8Array): Set<bigint> {
  ram.set(input, INPUT)
  vcpu.setRegs(start)
  vcpu.setGuestDebug(debug)
  const reached = new Set<bigint>()
  do {
    const reason = vcpu.run()
    if (reason !== KVM_EXIT_DEBUG) throw new Error(`exit ${reason}`)
    reached.add(run.debug.arch.pc)
  } while (!reached.has(BUG) && !reached.has(END))
  return reached
}

const corpus = [new Uint8Array(word.length).fill(0x41)]
const covered = new Set<bigint>()
let executions = 0
for (const seed of corpus) {
  for (let position = 0; position < seed.length; position++) {
    for (let letter = 0x41; letter <= 0x5a; letter++) {
      const input = seed.with(position, letter)
      const reached = execute(input)
      executions++
      if (reached.has(BUG)) {
        console.log(`'${Buffer.from(input)}' after ${executions} executions, ${covered.size} instructions covered`)
        process.exit()
      }
      if ([...reached].every(pc => covered.has(pc))) continue
      reached.forEach(pc => covered.add(pc))
      corpus.push(input)
    }
  }
}
