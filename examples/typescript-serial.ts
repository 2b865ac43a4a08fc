// Implements a serial port in TypeScript: the part of a 16550 that a guest needs to write by polling.

import { KVM_EXIT_HLT, KVM_EXIT_IO, KVM_EXIT_IO_OUT, Kvm, KvmRun, allocateMemory } from 'kvm-accel/kvm'

/** Offsets of the registers. While the divisor latch is open, offsets 0 and 1 are the divisor. */
const DATA = 0
const INTERRUPT_ENABLE = 1
const LINE_CONTROL = 3
const LINE_STATUS = 5

const DIVISOR_LATCH = 0x80
const TRANSMITTER_EMPTY = 0x60

class Serial16550 {
  readonly #registers = new Uint8Array(8)
  readonly #divisor = new Uint8Array(2)
  readonly #transmit: (byte: number) => void

  constructor(transmit: (byte: number) => void) {
    this.#transmit = transmit
  }

  #latched(offset: number): boolean {
    return offset <= INTERRUPT_ENABLE && ((this.#registers[LINE_CONTROL] ?? 0) & DIVISOR_LATCH) !== 0
  }

  read(offset: number): number {
    if (this.#latched(offset)) return this.#divisor[offset] ?? 0
    if (offset === LINE_STATUS) return TRANSMITTER_EMPTY
    return offset === DATA ? 0 : (this.#registers[offset] ?? 0)
  }

  write(offset: number, value: number): void {
    if (this.#latched(offset)) this.#divisor[offset] = value
    else if (offset === DATA) this.#transmit(value)
    else this.#registers[offset] = value
  }
}

const text = 'Hello from a guest, by a serial port in TypeScript.\n\0'
const guest = [
  [0xba, 0xfb, 0x03, 0xb0, 0x83, 0xee], // mov dx, 0x3fb; mov al, 0x83; out dx, al: opens the divisor latch
  [0xba, 0xf8, 0x03, 0xb0, 0x01, 0xee], // mov dx, 0x3f8; mov al, 1; out dx, al: 115200 baud
  [0xba, 0xfb, 0x03, 0xb0, 0x03, 0xee], // mov dx, 0x3fb; mov al, 3; out dx, al: 8 bits, no parity
  [0xbe, 0x00, 0x20], //                   mov si, 0x2000
  [0xac, 0x84, 0xc0, 0x74, 0x12], //       next: lodsb; test al, al; jz end
  [0x88, 0xc4, 0xba, 0xfd, 0x03], //       mov ah, al; mov dx, 0x3fd
  [0xec, 0xa8, 0x20, 0x74, 0xfb], //       wait: in al, dx; test al, 0x20; jz wait
  [0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee], // mov al, ah; mov dx, 0x3f8; out dx, al
  [0xeb, 0xe9, 0xf4], //                   jmp next; end: hlt
]

using kvm = new Kvm()
using vm = kvm.createVm()
const ram = allocateMemory(0x10000)
new Uint8Array(ram).set(guest.flat(), 0x1000)
new Uint8Array(ram).set(Buffer.from(text), 0x2000)
vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })

using vcpu = vm.createVcpu(0)
const sregs = vcpu.getSregs()
Object.assign(sregs.cs, { base: 0n, selector: 0 })
vcpu.setSregs(sregs)
vcpu.setRegs(Object.assign(vcpu.getRegs(), { rip: 0x1000n, rflags: 2n }))

const COM1 = 0x3f8
const serial = new Serial16550(byte => process.stdout.write(Uint8Array.of(byte)))
const run = new KvmRun(vcpu.runPage)
const page = new Uint8Array(vcpu.runPage)
for (let reason = vcpu.run(); reason !== KVM_EXIT_HLT; reason = vcpu.run()) {
  const { direction, port, dataOffset } = run.io
  if (reason !== KVM_EXIT_IO || port < COM1 || port > COM1 + 7) throw new Error(`exit ${reason}`)
  if (direction === KVM_EXIT_IO_OUT) serial.write(port - COM1, page[dataOffset] ?? 0)
  else page[dataOffset] = serial.read(port - COM1)
}
