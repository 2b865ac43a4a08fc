import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Machine, guestImage } from 'kvm-accel'
import { root } from '../helpers/paths.js'
import { kvm, requires } from '../helpers/requires.js'
import { baseline, resources, settled } from '../helpers/resources.mjs'

const test = requires(kvm)

/** A last resort against a hang, far above the 100 ms of a teardown, because the host may be busy. */
const PATIENCE = 20_000

const source = `
  import { Machine, guestImage } from 'kvm-accel'
  const machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M', cpus: 2 })
  await machine.start()
`

/** Runs a script with a spinning machine in a separate process. Returns its status and its stderr. */
const run = async (script: string): Promise<{ code: number | null; stderr: string }> => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', source + script], {
    cwd: root,
    timeout: PATIENCE,
  })
  let stderr = ''
  child.stderr.on('data', chunk => (stderr += String(chunk)))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stderr }
}

test('abort ends a spinning machine', async t => {
  const controller = new AbortController()
  const machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M', signal: controller.signal })
  await machine.start()
  const ended = once(machine, 'shutdown')
  const reason = new Error('enough')
  controller.abort(reason)
  t.deepEqual(await machine.wait(), { reason: 'aborted', cause: reason })
  t.deepEqual(await ended, [{ reason: 'aborted' }])
  const refused = await t.throwsAsync(machine.start(), { code: 'ERR_MACHINE_STATE', message: /its signal was aborted/ })
  t.is(refused.cause, reason)
  await t.throwsAsync(
    Machine.create({ kernel: guestImage('spin'), signal: controller.signal }),
    { is: reason },
    'a signal that is already aborted makes no machine',
  )
})

test('an abort at any moment of create() rejects with its reason, or ends the machine with it', async t => {
  const before = await baseline()
  const reason = new Error('enough')
  for (let turns = 0; turns < 40; turns++) {
    const controller = new AbortController()
    const made = Machine.create({ kernel: guestImage('spin'), memory: '16M', signal: controller.signal })
    made.catch(() => {})
    for (let turn = 0; turn < turns; turn++) await new Promise(resolve => setImmediate(resolve))
    controller.abort(reason)
    try {
      const machine = await made
      t.deepEqual(await machine.wait(), { reason: 'aborted', cause: reason })
    } catch (error) {
      t.is(error, reason)
    }
  }
  t.deepEqual(await settled(before), before)
})

test('a machine that is stopped leaves no thread and no file', async t => {
  const make = () => Machine.create({ kernel: guestImage('spin'), memory: '16M', cpus: 2, serial: 'stream' })
  // The first machine of a process opens resources that later machines share.
  const first = await make()
  await first.stop()
  first.serial.destroy()
  const before = await baseline()
  for (let n = 0; n < 10; n++) {
    const machine = await make()
    await machine.start()
    await machine[Symbol.asyncDispose]()
    machine.serial.destroy()
  }
  t.deepEqual(await settled(before), before)
})

test('a creation that is aborted at any moment leaves no open file', async t => {
  const make = (signal?: AbortSignal) =>
    Machine.create({
      kernel: guestImage('spin'),
      memory: '16M',
      serial: 'stream',
      consoles: [{ target: 'stream' }],
      ...(signal && { signal }),
    })
  const first = await make()
  await first.stop()
  first.serial.destroy()
  first.consoles[0]?.destroy()
  const before = await baseline()
  for (let n = 0; n < 40; n++) {
    const controller = new AbortController()
    setTimeout(() => controller.abort(), n / 4)
    try {
      const machine = await make(controller.signal)
      await machine.stop()
      machine.serial.destroy()
      machine.consoles[0]?.destroy()
    } catch (error) {
      t.is((error as Error).name, 'AbortError')
    }
  }
  t.deepEqual(await settled(before), before)
})

test('process.exit() ends a spinning machine', async t => {
  t.deepEqual(await run('process.exit(7)'), { code: 7, stderr: '' })
})

test('an exception in a handler ends the machine and the process', async t => {
  const { code, stderr } = await run(`
    machine.on('notify', () => { throw new Error('in the handler') })
    await machine.injectNotify()
  `)
  t.is(code, 1)
  t.regex(stderr, /in the handler/)
})

test('a handler’s exception that the process survives ends the machine only', async t => {
  const { code, stderr } = await run(`
    process.on('uncaughtException', () => {})
    machine.on('notify', () => { throw new Error('in the handler') })
    await machine.injectNotify()
    const { reason, cause } = await machine.wait()
    console.error(reason, cause.message, machine.state)
  `)
  t.deepEqual({ code, stderr }, { code: 0, stderr: 'handler-error in the handler shutdown\n' })
})

test('a shutdown listener that throws surfaces once, however often the end calls it, and the machine is gone', async t => {
  const { code, stderr } = await run(`
    let [errors, calls] = [0, 0]
    process.on('uncaughtException', () => errors++)
    for (const noShutdown of [false, true]) {
      for (const listener of [() => { throw new Error('in the listener') }, event => other.emit('shutdown', event)]) {
        var other = await Machine.create({ kernel: Uint8Array.of(0xe6, 0xf4), kernelFormat: 'flat', memory: '1M', debugExit: { iobase: 0xf4, iosize: 4 }, noShutdown })
        other.on('shutdown', event => { calls++; listener(event) })
        await other.start()
        await other.wait()
        await other.stop()
        await new Promise(resolve => setImmediate(resolve))
        console.error(errors, calls > 0, other.state)
        errors = 0
      }
    }
    await machine.stop()
  `)
  t.deepEqual({ code, stderr }, { code: 0, stderr: '1 true shutdown\n'.repeat(4) })
})

test('unref lets the process end, and the machine with it', async t => {
  t.deepEqual(await run('machine.unref()'), { code: 0, stderr: '' })
})

test('unref stays in effect when the machine resumes', async t => {
  t.deepEqual(await run('machine.unref(); await machine.pause(); await machine.resume()'), { code: 0, stderr: '' })
})

test('a paused machine that is reset lets the process end, like a machine that has not run', async t => {
  t.deepEqual(await run('await machine.pause(); await machine.reset()'), { code: 0, stderr: '' })
})

test('a terminated worker leaves no vCPU running', async t => {
  const before = await baseline()
  const worker = new Worker(
    `import('kvm-accel').then(async ({ Machine, guestImage }) => {
      const machine = await Machine.create({ kernel: guestImage('spin'), memory: '16M', cpus: 2 })
      await machine.start()
      require('node:worker_threads').parentPort.postMessage('runs')
    })`,
    { eval: true },
  )
  await once(worker, 'message')
  t.true(resources().threads.length > before.threads.length)
  await worker.terminate()
  t.deepEqual(await settled(before), before)
})
