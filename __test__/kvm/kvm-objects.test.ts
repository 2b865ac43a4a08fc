// Tests every ioctl of kvm-accel/kvm against the kernel.

import { closeSync, readSync } from 'node:fs'
import {
  EventFd,
  KVM_CAP_IRQCHIP,
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
  KVM_CAP_MP_STATE,
  KVM_CAP_NESTED_STATE,
  KVM_CAP_SREGS2,
  KVM_CAP_USER_MEMORY,
  KVM_CAP_X86_MSR_FILTER,
  KVM_CAP_X86_USER_SPACE_MSR,
  KVM_CAP_XSAVE2,
  KVM_DEV_TYPE_VFIO,
  KVM_EXIT_DEBUG,
  KVM_EXIT_HLT,
  KVM_EXIT_IO,
  KVM_EXIT_IO_IN,
  KVM_EXIT_MMIO,
  KVM_EXIT_X86_RDMSR,
  KVM_GUESTDBG_ENABLE,
  KVM_GUESTDBG_SINGLESTEP,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MP_STATE_RUNNABLE,
  KVM_MSR_EXIT_REASON_FILTER,
  KVM_MSR_FILTER_DEFAULT_ALLOW,
  KVM_MSR_FILTER_READ,
  Kvm,
  KvmCoalescedMmioZone,
  KvmGuestDebug,
  KvmIrqRoutingEntry,
  KvmMsi,
  allocateMemory,
} from 'kvm-accel/kvm'
import { kvm as device, requires, skips } from '../helpers/requires.js'
import { ENTRY, restart, tinyGuest } from '../helpers/tiny-guest.js'

const test = requires(device)

const HLT = [0xf4]

test('the device: version, capabilities, CPUID, MSRs', t => {
  using kvm = new Kvm()
  t.is(kvm.getApiVersion(), 12)
  t.true(kvm.checkExtension(KVM_CAP_USER_MEMORY) > 0)
  t.is(kvm.checkExtension(99_999), 0)
  t.is(kvm.getVcpuMmapSize() % 4096, 0)
  const leaf = kvm.getSupportedCpuid().find(entry => entry.function === 0)
  t.true(leaf !== undefined && leaf.eax > 0)
  t.true(Array.isArray(kvm.getEmulatedCpuid()))
  const TSC = 0x10
  t.true(kvm.getMsrIndexList().includes(TSC))
  const features = kvm.getMsrFeatureIndexList()
  t.is(kvm.getMsrs(features).size, features.length)
  t.is(kvm.getMsrs([0xdead_beef]).size, 0)
})

test('a device that cannot be opened is an error with the reason', t => {
  t.throws(() => new Kvm('/nonexistent'), { code: 'ERR_KVM_UNAVAILABLE', message: /nonexistent/ })
  t.throws(() => new Kvm('/proc/self/exe'), { code: 'ERR_KVM_UNAVAILABLE' })
})

test('ports and memory: JavaScript sees writes and answers reads', t => {
  // in al, 0x10; out 0x11, al; mov ax, 0xd000; mov ds, ax; mov bx, [4]; mov [8], bx; hlt
  const code = [0xe4, 0x10, 0xe6, 0x11, 0xb8, 0, 0xd0, 0x8e, 0xd8, 0x8b, 0x1e, 4, 0, 0x89, 0x1e, 8, 0, 0xf4]
  const { vcpu, run } = tinyGuest(code)
  const page = new Uint8Array(vcpu.runPage)

  t.is(vcpu.run(), KVM_EXIT_IO)
  t.like(run.io, { direction: KVM_EXIT_IO_IN, port: 0x10, size: 1, count: 1 })
  page[run.io.dataOffset] = 0x5a
  t.is(vcpu.run(), KVM_EXIT_IO)
  t.is(run.io.port, 0x11)
  t.is(page[run.io.dataOffset], 0x5a)

  t.is(vcpu.run(), KVM_EXIT_MMIO)
  t.like(run.mmio, { physAddr: 0xd0004, len: 2, isWrite: 0 })
  run.mmio.data.set([0x34, 0x12])
  t.is(vcpu.run(), KVM_EXIT_MMIO)
  t.like(run.mmio, { physAddr: 0xd0008, len: 2, isWrite: 1 })
  t.deepEqual([...run.mmio.data.subarray(0, 2)], [0x34, 0x12])
  t.is(vcpu.run(), KVM_EXIT_HLT)
  t.is(run.exitReason, KVM_EXIT_HLT)
})

test('the registers of a vCPU that were written can be read back', t => {
  const { kvm, vm, vcpu } = tinyGuest(HLT, vm => vm.createIrqchip())
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  t.true(vcpu.getCpuid2().some(entry => entry.function === 1))

  const regs = vcpu.getRegs()
  regs.rax = 0x0123_4567_89ab_cdefn
  vcpu.setRegs(regs)
  t.is(vcpu.getRegs().rax, 0x0123_4567_89ab_cdefn)
  t.is(vcpu.getRegs(regs), regs, 'a structure that is given is filled')

  const sregs = vcpu.getSregs()
  sregs.fs.base = 0x1234n
  vcpu.setSregs(sregs)
  t.is(vcpu.getSregs().fs.base, 0x1234n)
  if (vm.checkExtension(KVM_CAP_SREGS2)) {
    const sregs2 = vcpu.getSregs2()
    t.is(sregs2.fs.base, 0x1234n)
    vcpu.setSregs2(sregs2)
  }

  const fpu = vcpu.getFpu()
  fpu.xmm[5] = 0x77
  vcpu.setFpu(fpu)
  t.is(vcpu.getFpu().xmm[5], 0x77)
  const xsave = vcpu.getXsave()
  t.is(xsave.length, 4096)
  vcpu.setXsave(xsave)
  if (vm.checkExtension(KVM_CAP_XSAVE2)) {
    const whole = vcpu.getXsave2()
    t.true(whole.length >= 4096)
    vcpu.setXsave(whole)
  }
  if (vm.checkExtension(KVM_CAP_NESTED_STATE)) {
    const nested = vcpu.getNestedState()
    t.true(nested.length >= 128)
    vcpu.setNestedState(nested)
  } else t.throws(() => vcpu.getNestedState(), { code: 'ERR_KVM_IOCTL' })
  const xcrs = vcpu.getXcrs()
  t.is(xcrs.xcrs[0]?.xcr, 0)
  vcpu.setXcrs(xcrs)

  const SYSENTER_EIP = 0x176
  t.is(vcpu.setMsrs([[SYSENTER_EIP, 0xabcdn]]), 1)
  t.deepEqual([...vcpu.getMsrs([SYSENTER_EIP])], [[SYSENTER_EIP, 0xabcdn]])
  t.is(vcpu.setMsrs([[0xdead_beef, 0n]]), 0)

  const lapic = vcpu.getLapic()
  vcpu.setLapic(lapic)
  t.deepEqual(vcpu.getLapic().regs.subarray(0x20, 0x34), lapic.regs.subarray(0x20, 0x34))
  t.true(vm.checkExtension(KVM_CAP_MP_STATE) > 0)
  vcpu.setMpState(KVM_MP_STATE_RUNNABLE)
  t.is(vcpu.getMpState(), KVM_MP_STATE_RUNNABLE)

  const debugregs = vcpu.getDebugregs()
  debugregs.db[1] = 0x1000n
  vcpu.setDebugregs(debugregs)
  t.is(vcpu.getDebugregs().db[1], 0x1000n)

  vcpu.nmi()
  const events = vcpu.getVcpuEvents()
  t.is(events.nmi.pending + events.nmi.injected > 0, true)
  vcpu.setVcpuEvents(events)

  t.true(vcpu.getTscKhz() > 0)
  vcpu.setTscKhz(vcpu.getTscKhz())
  t.is(vcpu.translate(BigInt(ENTRY)).physicalAddress, ENTRY)
})

test('single steps are debug exits', t => {
  const { vcpu, run } = tinyGuest([0x90, 0x90, 0xf4])
  const debug = new KvmGuestDebug()
  debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP
  vcpu.setGuestDebug(debug)
  t.is(vcpu.run(), KVM_EXIT_DEBUG)
  t.is(run.debug.arch.pc, BigInt(ENTRY + 1))
  vcpu.setGuestDebug(new KvmGuestDebug())
  t.is(vcpu.run(), KVM_EXIT_HLT)
})

test('an interrupt is injected without an irqchip', t => {
  // sti; nop; hlt, and a handler at 0x3000: out 0x33, al
  const { vcpu, run, ram } = tinyGuest([0xfb, 0x90, 0xf4])
  ram.set([0xe6, 0x33, 0xf4], 0x3000)
  ram.set([0x00, 0x30, 0, 0], 0x20 * 4)
  t.is(vcpu.run(), KVM_EXIT_HLT)
  t.is(run.readyForInterruptInjection, 1)
  vcpu.interrupt(0x20)
  t.is(vcpu.run(), KVM_EXIT_IO)
  t.is(run.io.port, 0x33)
})

test('the irqchip, the PIT, lines, routes, messages', t => {
  const { vm } = tinyGuest(HLT, vm => {
    vm.createIrqchip()
    vm.createPit2()
  })
  t.true(vm.checkExtension(KVM_CAP_IRQCHIP) > 0)
  const ioapic = vm.getIrqchip(KVM_IRQCHIP_IOAPIC)
  t.is(ioapic.ioapic.baseAddress, 0xfec0_0000)
  vm.setIrqchip(ioapic)
  const pic = vm.getIrqchip(KVM_IRQCHIP_PIC_MASTER)
  pic.pic.imr = 0xfe
  vm.setIrqchip(pic)
  t.is(vm.getIrqchip(KVM_IRQCHIP_PIC_MASTER).pic.imr, 0xfe)

  const pit = vm.getPit2()
  vm.setPit2(pit)
  t.is(pit.channels.length, 3)
  vm.reinjectControl(false)

  const route = new KvmIrqRoutingEntry()
  Object.assign(route, { gsi: 4, type: KVM_IRQ_ROUTING_IRQCHIP })
  Object.assign(route.irqchip, { irqchip: KVM_IRQCHIP_IOAPIC, pin: 4 })
  vm.setGsiRouting([route])
  vm.irqLine(4, 1)
  t.is(typeof vm.irqLineStatus(4, 0), 'number')
  const irq = new EventFd()
  vm.irqfd(irq, 4)
  irq.write()
  vm.irqfd(irq, 4, { deassign: true })
  t.is(vm.signalMsi(Object.assign(new KvmMsi(), { addressLo: 0xfee0_0000, data: 0x31 })) >= 0, true)
})

test('writes that signal an eventfd cause no exit', t => {
  // out 0x40, al twice; out 0x41, al; hlt
  const { vm, vcpu, run } = tinyGuest([0xe6, 0x40, 0xe6, 0x40, 0xe6, 0x41, 0xf4])
  using rung = new EventFd()
  t.is(rung.read(), 0n)
  vm.ioeventfd(rung, { addr: 0x40, len: 1, pio: true })
  t.is(vcpu.run(), KVM_EXIT_IO)
  t.is(run.io.port, 0x41)
  t.is(rung.read(), 2n)
  vm.ioeventfd(rung, { addr: 0x40, len: 1, pio: true, deassign: true })
  restart(vcpu)
  t.is(vcpu.run(), KVM_EXIT_IO)
  t.is(run.io.port, 0x40)
})

test('coalesced writes are delivered at another exit', t => {
  // mov ax, 0xd000; mov ds, ax; mov [0], al; hlt
  const { vm, vcpu } = tinyGuest([0xb8, 0, 0xd0, 0x8e, 0xd8, 0xa2, 0, 0, 0xf4])
  const zone = Object.assign(new KvmCoalescedMmioZone(), { addr: 0xd0000, size: 4096 })
  vm.registerCoalescedMmio(zone)
  t.is(vcpu.run(), KVM_EXIT_HLT)
  vm.unregisterCoalescedMmio(zone)
  restart(vcpu)
  t.is(vcpu.run(), KVM_EXIT_MMIO)
})

test('a memory slot logs dirty pages, moves, and can be deleted', t => {
  // mov [0x5000], al; hlt
  const { vm, vcpu, ram } = tinyGuest([0xa2, 0x00, 0x50, 0xf4], vm =>
    vm.setUserMemoryRegion({
      slot: 0,
      guestPhysAddr: 0,
      memory: vm.memory.get(0) as Uint8Array,
      flags: KVM_MEM_LOG_DIRTY_PAGES,
    }),
  )
  t.is(vm.memory.get(0), ram)
  vm.getDirtyLog(0)
  t.is(vcpu.run(), KVM_EXIT_HLT)
  t.is(vm.getDirtyLog(0)[0]! & (1n << 5n), 1n << 5n)
  t.throws(() => vm.getDirtyLog(7), { code: 'ERR_KVM_IOCTL', message: /KVM_GET_DIRTY_LOG/ })

  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x20000, memory: ram.subarray(0x2000, 0x4000) })
  t.is(vm.memory.get(1)?.byteLength, 0x2000)
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x20000 })
  t.is(vm.memory.get(1), undefined)
})

test('KVM_CLEAR_DIRTY_LOG restarts the log for the given pages', t => {
  using kvm = new Kvm()
  using vm = kvm.createVm()
  if (vm.checkExtension(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) === 0) return skips(t, 'KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2')
  vm.enableCap(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 1)
  vm.setUserMemoryRegion({
    slot: 0,
    guestPhysAddr: 0,
    memory: allocateMemory(64 << 12),
    flags: KVM_MEM_LOG_DIRTY_PAGES,
  })
  t.is(vm.getDirtyLog(0).length, 1)
  vm.clearDirtyLog(0, 0, 64, BigUint64Array.of(-1n))
  t.throws(() => vm.clearDirtyLog(0, 0, 128, BigUint64Array.of(0n)), { code: 'ERR_KVM_IOCTL', message: /address/ })
})

test('only memory that was allocated for guests becomes a slot', t => {
  using kvm = new Kvm()
  using vm = kvm.createVm()
  for (const memory of [new Uint8Array(8192), Buffer.alloc(4096), new ArrayBuffer(4096)])
    t.throws(() => vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory }), {
      code: 'ERR_KVM_IOCTL',
      message: /KVM_SET_USER_MEMORY_REGION/,
    })
  for (const size of [0, -4096, 100, 1.5, Infinity]) t.throws(() => allocateMemory(size), { code: 'ERR_ARGUMENT' })
})

test('a filtered MSR is an exit that JavaScript answers', t => {
  // mov ecx, 0x10; rdmsr; hlt: in real mode with a 32-bit operand
  const { vm, vcpu, run } = tinyGuest([0x66, 0xb9, 0x10, 0, 0, 0, 0x0f, 0x32, 0xf4], vm => {
    if (vm.checkExtension(KVM_CAP_X86_MSR_FILTER) === 0) return
    vm.enableCap(KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER)
    const range = { flags: KVM_MSR_FILTER_READ, base: 0x10, count: 1, bitmap: BigUint64Array.of(0n) }
    vm.setMsrFilter(KVM_MSR_FILTER_DEFAULT_ALLOW, [range])
    t.throws(() => vm.setMsrFilter(0, [{ ...range, count: 65 }]), { code: 'ERR_KVM_IOCTL' })
    t.throws(
      () =>
        vm.setMsrFilter(
          0,
          Array.from({ length: 17 }, () => range),
        ),
      { code: 'ERR_KVM_IOCTL' },
    )
  })
  if (vm.checkExtension(KVM_CAP_X86_MSR_FILTER) === 0) return skips(t, 'KVM_CAP_X86_MSR_FILTER')
  t.is(vcpu.run(), KVM_EXIT_X86_RDMSR)
  t.like(run.msr, { index: 0x10, reason: KVM_MSR_EXIT_REASON_FILTER })
  run.msr.data = 0x1_0000_0042n
  t.is(vcpu.run(), KVM_EXIT_HLT)
  t.is(vcpu.getRegs().rax & 0xffff_ffffn, 0x42n)
})

test('the clock, statistics, kernel devices', t => {
  const { vm, vcpu } = tinyGuest(HLT)
  const clock = vm.getClock()
  clock.flags = 0
  clock.clock = 1_000_000_000n
  vm.setClock(clock)
  t.true(vm.getClock().clock >= 1_000_000_000n)

  for (const fd of [vm.getStatsFd(), vcpu.getStatsFd()]) {
    const header = Buffer.alloc(24)
    t.is(readSync(fd, header, 0, 24, 0), 24)
    t.true(header.readUInt32LE(8) > 0, 'it describes something')
    closeSync(fd)
  }

  t.throws(() => vm.testDevice(9999), { code: 'ERR_KVM_IOCTL', message: /KVM_CREATE_DEVICE/ })
  try {
    vm.testDevice(KVM_DEV_TYPE_VFIO)
  } catch {
    return skips(t, 'KVM_DEV_TYPE_VFIO')
  }
  using device = vm.createDevice(KVM_DEV_TYPE_VFIO)
  const VFIO_GROUP = 1
  device.hasDeviceAttr(VFIO_GROUP, 1)
  t.throws(() => device.hasDeviceAttr(VFIO_GROUP, 99), { code: 'ERR_KVM_IOCTL' })
  const shorterThanAnFd = new Uint8Array(3)
  t.throws(() => device.setDeviceAttr(VFIO_GROUP, 1, shorterThanAnFd), { code: 'ERR_KVM_IOCTL', message: /address/ })
})

test('an ioctl that the kernel refuses is an error with the ioctl and the errno', t => {
  const { vm, vcpu } = tinyGuest(HLT)
  const error = t.throws(() => vm.createVcpu(0), { code: 'ERR_KVM_IOCTL' })
  t.like(error, { ioctl: 'KVM_CREATE_VCPU', errno: 17, errnoName: 'EEXIST' })
  t.throws(() => vcpu.getLapic(), { message: /KVM_GET_LAPIC failed/ })
  const CAP_WITH_A_POINTER = 163
  t.like(
    t.throws(() => vcpu.enableCap(CAP_WITH_A_POINTER, 0x1000)),
    { ioctl: 'KVM_ENABLE_CAP', errnoName: 'EINVAL' },
  )
})
