// Tests the lifetimes of objects: closed objects, collected objects, and threads that end.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { EventFd, KVM_EXIT_HLT, KVM_EXIT_INTR, Kvm } from 'kvm-accel/kvm'
import { kvm as device, requires } from '../helpers/requires.js'
import { baseline, resources, settled } from '../helpers/resources.mjs'
import { run as runProcess } from '../helpers/spawn.js'
import { SPIN, restart, tinyGuest } from '../helpers/tiny-guest.js'

const test = requires(device)

const worker = (code: readonly number[], exits = 1): Worker =>
  new Worker(new URL('../helpers/run-vcpu.mjs', import.meta.url), { workerData: { code, exits } })

/** Runs a script in a separate process, with `gc()`. */
const script = (source: string, ...flags: string[]) =>
  runProcess(process.execPath, ['--expose-gc', ...flags, '--input-type=module', '-e', source])

test('a closed object reports that it is closed, and may be closed again', t => {
  const { kvm, vm, vcpu } = tinyGuest([0xf4])
  const event = new EventFd()
  for (const object of [vcpu, vm, kvm, event]) {
    t.false(object.closed)
    object.close()
    object.close()
    t.true(object.closed)
  }
  for (const [call, object] of [
    [() => vcpu.run(), 'Vcpu'],
    [() => vcpu.getRegs(), 'Vcpu'],
    [() => vm.createVcpu(1), 'Vm'],
    [() => vm.getDirtyLog(0), 'Vm'],
    [() => vm.createIrqchip(), 'Vm'],
    [() => kvm.createVm(), 'Kvm'],
    [() => event.read(), 'EventFd'],
    [() => event.fd, 'EventFd'],
  ] as const)
    t.like(t.throws(call), { code: 'ERR_KVM_CLOSED', object, name: 'KvmClosedError' })
  t.false(vcpu.kick())
})

test('a vCPU continues after its VM is closed, and views outlive both', t => {
  const { kvm, vm, vcpu, run, ram } = tinyGuest([0xc6, 0x06, 0x00, 0x50, 0x77, 0xf4]) // mov byte [0x5000], 0x77; hlt
  kvm.close()
  vm.close()
  t.is(vcpu.run(), KVM_EXIT_HLT)
  vcpu.close()
  t.is(run.exitReason, KVM_EXIT_HLT)
  t.is(ram[0x5000], 0x77)
})

test('closed objects leave no descriptor and no memory', t => {
  // The whole list, because the collector may release objects below.
  const { kvm, vm, vcpu } = tinyGuest([0xf4])
  for (const one of [vcpu, vm, kvm]) one.close()
  const before = resources().fds
  for (let n = 0; n < 20; n++) {
    using kvm = new Kvm()
    using vm = kvm.createVm()
    using vcpu = vm.createVcpu(0)
    t.is(vcpu.closed, false)
  }
  // The run page's mapping keeps nothing open in this process.
  t.deepEqual(resources().fds, before)
})

test('a kick before run() is not lost, and causes one exit', t => {
  const { vcpu, run } = tinyGuest([0xf4])
  t.true(vcpu.kick())
  t.true(vcpu.kick())
  t.is(vcpu.run(), KVM_EXIT_INTR)
  t.is(run.exitReason, KVM_EXIT_INTR)
  t.is(vcpu.run(), KVM_EXIT_HLT)
  restart(vcpu)
  run.immediateExit = 1
  t.is(vcpu.run(), KVM_EXIT_INTR, 'the page’s own request is a kick')
  t.is(run.immediateExit, 0)
})

test('a spinning guest in a worker is kicked by the main thread, again and again', async t => {
  const spinning = worker(SPIN, 200)
  const [token] = (await once(spinning, 'message')) as [number]
  const exit = once(spinning, 'exit')
  for (let n = 0; n < 200; n++) {
    t.true(Kvm.kick(token))
    t.deepEqual(await once(spinning, 'message'), [KVM_EXIT_INTR])
  }
  await exit
  t.false(Kvm.kick(token))
})

test('a guest that spins for a long time causes no exit', async t => {
  const spinning = worker(SPIN)
  const [token] = (await once(spinning, 'message')) as [number]
  const first = await Promise.race([
    once(spinning, 'message'),
    new Promise(resolve => setTimeout(resolve, 500, 'nothing')),
  ])
  t.is(first, 'nothing')
  const exit = once(spinning, 'exit')
  Kvm.kick(token)
  await exit
})

test('a worker whose guest spins is terminated', async t => {
  const before = await baseline()
  const workers = [worker(SPIN), worker(SPIN)]
  const tokens = await Promise.all(workers.map(async one => ((await once(one, 'message')) as [number])[0]))
  await Promise.all(workers.map(one => one.terminate()))
  for (const token of tokens) t.false(Kvm.kick(token))
  t.deepEqual(await settled(before), before)
})

test('process.exit() ends a worker whose guest spins', async t => {
  const { status, stderr } = await script(`
    import { Worker } from 'node:worker_threads'
    const url = new URL('${new URL('../helpers/run-vcpu.mjs', import.meta.url).href}')
    const worker = new Worker(url, { execArgv: [], workerData: { code: [0xeb, 0xfe], exits: 1 } })
    worker.once('message', () => setTimeout(() => process.exit(7), 50))
  `)
  t.deepEqual({ status, stderr }, { status: 7, stderr: '' })
})

test('objects may be collected in any order, and all resources are released', async t => {
  const { status, stdout, stderr } = await script(`
    import { readdirSync, readFileSync } from 'node:fs'
    import { Kvm, KvmRun, allocateMemory } from 'kvm-accel/kvm'
    const count = () => ({
      fds: readdirSync('/proc/self/fd').length,
      guests: readFileSync('/proc/self/maps', 'utf8').split('kvm-vcpu').length,
    })
    let random = 1
    const chance = () => (random = (random * 48271) % 0x7fffffff) % 2 === 0
    const kept = []
    const guest = () => {
      const kvm = new Kvm()
      const vm = kvm.createVm()
      const ram = allocateMemory(0x10000)
      new Uint8Array(ram)[0x1000] = 0xf4
      vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })
      const vcpu = vm.createVcpu(0)
      const sregs = vcpu.getSregs()
      Object.assign(sregs.cs, { base: 0n, selector: 0 })
      vcpu.setSregs(sregs)
      vcpu.setRegs(Object.assign(vcpu.getRegs(), { rip: 0x1000n, rflags: 2n }))
      const run = new KvmRun(vcpu.runPage)
      for (const object of [kvm, vm, vcpu]) if (chance()) object.close()
      kept.push({ kvm, vm, ram: new Uint8Array(ram), vcpu, run })
    }
    const settle = async () => {
      for (let n = 0; n < 5; n++) {
        gc()
        await new Promise(resolve => setTimeout(resolve, 10))
      }
    }
    const use = ({ ram, vcpu, run }) => {
      if (vcpu && !vcpu.closed && vcpu.run() !== 5) throw new Error('not halted')
      if (ram && ram[0x1000] !== 0xf4) throw new Error('another memory')
      if (run && run.view.byteLength < 2000) throw new Error('no page')
    }
    const before = count()
    for (let round = 0; round < 40; round++) {
      for (let n = 0; n < 5; n++) guest()
      for (const one of kept) for (const key of Object.keys(one)) if (chance()) delete one[key]
      await settle()
      for (const one of kept) {
        use(one)
        // rip is behind the hlt now
        if (one.vcpu && !one.vcpu.closed) one.vcpu.setRegs(Object.assign(one.vcpu.getRegs(), { rip: 0x1000n }))
      }
      if (chance()) kept.splice(0, kept.length >> 1)
    }
    kept.length = 0
    const more = () => count().fds > before.fds || count().guests > before.guests
    await settle()
    for (let left = 100; left > 0 && more(); left--) await settle()
    console.log(JSON.stringify([before, count()]))
  `)
  t.is(status, 0, stderr)
  const [before, after] = JSON.parse(stdout) as [{ fds: number; guests: number }, { fds: number; guests: number }]
  t.deepEqual(after, before)
})

test('workers that end with open objects leave no resources, also if only workers loaded the addon', async t => {
  const { status, stdout, stderr } = await script(`
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    import { baseline, settled } from '${new URL('../helpers/resources.mjs', import.meta.url).href}'
    const url = new URL('${new URL('../helpers/run-vcpu.mjs', import.meta.url).href}')
    const one = async terminate => {
      const code = terminate ? [0xeb, 0xfe] : [0xf4]
      const worker = new Worker(url, { execArgv: [], workerData: { code, exits: 1 } })
      const exit = once(worker, 'exit')
      await once(worker, 'message')
      if (terminate) await worker.terminate()
      await exit
    }
    await one(false)
    const before = await baseline()
    for (let n = 0; n < 10; n++) await Promise.all([one(true), one(false), one(n % 2 === 0)])
    console.log(JSON.stringify([before, await settled(before)]))
  `)
  t.is(status, 0, stderr)
  const [before, after] = JSON.parse(stdout) as ReturnType<typeof resources>[]
  t.deepEqual(after, before)
})

test('a buffer that was transferred keeps its memory', async t => {
  const { status, stdout, stderr } = await script(`
    import { Kvm, allocateMemory } from 'kvm-accel/kvm'
    const vm = new Kvm().createVm()
    let ram = allocateMemory(0x10000)
    new Uint8Array(ram)[5] = 9
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })
    let other = ram
    try { other = structuredClone(ram, { transfer: [ram] }) } catch {}
    if (typeof ram.transfer === 'function' && !ram.detached) other = ram.transfer()
    ram = undefined
    for (let n = 0; n < 5; n++) { gc(); await new Promise(resolve => setTimeout(resolve, 5)) }
    console.log(new Uint8Array(other)[5])
  `)
  t.is(status, 0, stderr)
  t.is(stdout, '9\n')
})
