// Exits handled by a loop in JavaScript (`kvm-accel/kvm`), beside a loop of KVM_RUN alone, in the
// same process.

import { createRequire } from 'node:module'
import { KVM_EXIT_IO, KVM_EXIT_MMIO, Kvm, KvmRun, allocateMemory } from 'kvm-accel/kvm'
import { baselineAddon } from '../steps.mjs'
import { differences, row } from './table.mjs'

/**
 * Exits in a round. They take about a millisecond, less than a time slice, so that a busy host
 * spoils few rounds.
 */
const EXITS = 100
const ENTRY = 0x1000

const guests = {
  // mov al,0x41; again: out 0xe0,al; jmp again
  pio: [0xb0, 0x41, 0xe6, 0xe0, 0xeb, 0xfc],
  // mov ax,0xd000; mov ds,ax; again: mov [0],al; jmp again
  mmio: [0xb8, 0x00, 0xd0, 0x8e, 0xd8, 0xa2, 0x00, 0x00, 0xeb, 0xfb],
}

/** Creates a VM by the same calls as the raw one. */
const inJavaScript = code => {
  const kvm = new Kvm()
  const vm = kvm.createVm()
  vm.setIdentityMapAddr(0xfeffc000)
  vm.setTssAddr(0xfeffd000)
  const ram = allocateMemory(0x10000)
  new Uint8Array(ram).set(code, ENTRY)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })
  vm.createIrqchip()
  vm.createPit2()
  const vcpu = vm.createVcpu(0)
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  const sregs = vcpu.getSregs()
  Object.assign(sregs.cs, { base: 0n, selector: 0 })
  vcpu.setSregs(sregs)
  vcpu.setRegs(Object.assign(vcpu.getRegs(), { rip: BigInt(ENTRY), rflags: 2n }))

  let written = 0
  const ports = new Map([[0xe0, byte => void (written += byte)]])
  const stores = new Map([[0xd0000, byte => void (written += byte)]])
  const run = new KvmRun(vcpu.runPage)
  const page = new Uint8Array(vcpu.runPage)
  return {
    /** Runs `count` exits. Returns the microseconds of each. */
    run(count) {
      const start = performance.now()
      for (let n = 0; n < count; n++) {
        const reason = vcpu.run()
        if (reason === KVM_EXIT_IO) ports.get(run.io.port)(page[run.io.dataOffset])
        else if (reason === KVM_EXIT_MMIO) stores.get(run.mmio.physAddr)(run.mmio.data[0])
        else throw new Error(`exit ${reason}`)
      }
      return ((performance.now() - start) * 1000) / count
    },
    written: () => written,
    close: () => [vcpu, vm, kvm].forEach(object => object.close()),
  }
}

/** Measures the microseconds of an exit, and the time that a handler in JavaScript adds. */
export const javascriptHandlers = ({ rounds }) => {
  const { BindingRawExits } = createRequire(import.meta.url)(baselineAddon())
  const rows = Object.entries(guests).flatMap(([kind, code]) => {
    const raw = new BindingRawExits(Uint8Array.from(code))
    const javascript = inJavaScript(code)
    const sides = { raw, javascript }
    const times = { raw: [], javascript: [] }
    // Warms up, until V8 has compiled the loop.
    for (let warm = 0; warm < 20; warm++) javascript.run(EXITS)
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 ? ['raw', 'javascript'] : ['javascript', 'raw']
      for (const side of order) times[side].push(sides[side].run(EXITS))
    }
    if (javascript.written() === 0 && kind === 'pio') throw new Error('the handler was not called')
    javascript.close()
    return [
      row(`${kind.toUpperCase()}: KVM_RUN and nothing else`, times.raw),
      row('... and a handler in JavaScript', differences(times.javascript, times.raw), { signed: true, target: 0.5 }),
    ]
  })
  return { name: 'JavaScript handlers, in the thread that runs the vCPU', unit: 'us', digits: 2, rows }
}
