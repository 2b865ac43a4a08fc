// A worker that creates a guest from `workerData.code`. Posts the token of its vCPU first. Then
// runs the vCPU for `workerData.exits` exits and posts the reason of each.
import { parentPort, workerData } from 'node:worker_threads'
import { Kvm, allocateMemory } from 'kvm-accel/kvm'

const vm = new Kvm().createVm()
const ram = allocateMemory(0x10000)
new Uint8Array(ram).set(workerData.code, 0x1000)
vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })
const vcpu = vm.createVcpu(0)
const sregs = vcpu.getSregs()
Object.assign(sregs.cs, { base: 0n, selector: 0 })
vcpu.setSregs(sregs)
vcpu.setRegs(Object.assign(vcpu.getRegs(), { rip: 0x1000n, rflags: 2n }))
parentPort.postMessage(vcpu.token)
for (let exits = 0; exits < workerData.exits; exits++) parentPort.postMessage(vcpu.run())
