import test from 'ava'
import { runFiles } from '../helpers/run-files.js'
import { resolveRun } from '../../ts/cli/argv/resolve-run.js'
import { OptionError, MachineConfigError } from '../../ts/errors/index.js'
import { normaliseMachineOptions } from '../../ts/machine/config/normal-options.js'
import { ChromeTrace } from '../../ts/trace/chrome.js'
import { decodeRecords } from '../../ts/trace/decode.js'
import { matchesNothing, matchingEvents, traceEventNames } from '../../ts/trace/glob.js'
import { jsonLine } from '../../ts/trace/json.js'
import type { TraceRecord } from '../../ts/trace/record.js'

const resolve = (...argv: string[]) => {
  const request = resolveRun(['-kernel', 'k', ...argv], runFiles)
  if (request.kind === 'print') throw new Error(request.text)
  return request
}

test('Globs match as in QEMU', t => {
  t.deepEqual(matchingEvents('kvm_run_exit'), ['kvm_run_exit'])
  t.deepEqual(matchingEvents('kvm_v?_ioctl'), ['kvm_vm_ioctl'])
  t.is(matchingEvents('*').length, traceEventNames.length)
  t.deepEqual(matchingEvents('kvm.run.exit'), [])
  t.deepEqual(matchingEvents('kvm_run_exit|.*'), [])
  t.is(matchesNothing('kvm_*'), undefined)
  t.is(matchesNothing('kvm_run_exi'), "no trace event matches 'kvm_run_exi'. Did you mean 'kvm_run_exit'?")
})

test('-trace patterns add up, and the last file and format win', t => {
  const { run, machine } = resolve('-trace', 'kvm_run_exit', '-trace', 'enable=kvm_n*,file=a', '-trace', 'file=b')
  t.deepEqual(run.trace, { globs: ['kvm_run_exit', 'kvm_n*'], file: 'b', format: 'json' })
  t.deepEqual(machine.trace, ['kvm_run_exit', 'kvm_n*'])
  t.is(resolve().run.trace, null)
  t.false(Object.hasOwn(resolve().machine, 'trace'))
})

test('a Chrome trace records the events of its slices', t => {
  const { trace } = resolve('-trace', 'kvm_notify,format=chrome').machine
  t.deepEqual(trace, ['kvm_notify', 'kvm_vcpu_ioctl', 'kvm_run_exit', 'kvm_io_window_exit'])
})

test('a -trace pattern without a match causes a warning with the nearest event', t => {
  const { run } = resolve('-trace', 'kvm_notifi', '-trace', 'x*')
  t.is(run.trace, null)
  t.regex(run.notices[0] ?? '', /^-trace: no trace event matches 'kvm_notifi'\. Did you mean 'kvm_notify'\?/)
  t.is(run.notices.length, 2)
})

test('-trace refuses other parameters and formats; help lists the events', t => {
  t.throws(() => resolve('-trace', '*,format=ctf'), { instanceOf: OptionError, message: /json or chrome/ })
  t.throws(() => resolve('-trace', '*,events=f'), { instanceOf: OptionError, message: /unknown parameter 'events'/ })
  t.throws(() => resolve('-trace', '*,file='), { instanceOf: OptionError, message: /expects a path/ })
  const help = resolveRun(['-trace', 'help'], runFiles)
  if (help.kind === 'run') return t.fail()
  for (const name of traceEventNames) t.regex(help.text, new RegExp(`^${name} +[A-Z].+\\.$`, 'm'))
})

test('the option trace accepts globs that match an event', t => {
  const options = (trace: string | string[]) => normaliseMachineOptions({ kernel: 'k', trace }).trace
  t.deepEqual(options('kvm_*'), ['kvm_*'])
  t.deepEqual(options(['kvm_notify', 'kvm_run*']), ['kvm_notify', 'kvm_run*'])
  t.deepEqual(normaliseMachineOptions({ kernel: 'k' }).trace, [])
  t.throws(() => options('kvm_nothing'), { instanceOf: MachineConfigError, message: /'trace'.*no trace event matches/ })
})

const record = <R extends TraceRecord>(event: R['event'], time: bigint, args: R['args'], more: Partial<R> = {}) =>
  ({ event, time, vcpu: 0, dropped: 0, args, ...more }) as R

test('Packed records become typed ones', t => {
  const kind = (name: (typeof traceEventNames)[number]) => BigInt(traceEventNames.indexOf(name))
  const words = [
    [kind('kvm_vcpu_ioctl'), 5n, 2n, 7n, 1n, 0xae80n, 0n],
    [kind('kvm_create_vcpu'), 6n, 0n, 0n, 1n, 1n, BigInt.asUintN(64, -1n)],
    [kind('kvm_notify'), 7n, 1n, 0n, 0n, 2n ** 63n, 1n, 0n, 1n],
    [kind('kvm_cpu_exec'), 8n, 1n, 0n],
  ].flat()
  const records: unknown = decodeRecords({ words: BigUint64Array.from(words), texts: ['KVM_RUN'], dropped: 7 })
  t.deepEqual(records, [
    { event: 'kvm_vcpu_ioctl', time: 5n, vcpu: 1, dropped: 7, args: { cpu_index: 1, type: 0xae80, name: 'KVM_RUN' } },
    { event: 'kvm_create_vcpu', time: 6n, vcpu: null, dropped: 0, args: { cpu_index: 1, arch_cpu_id: 1, kvm_fd: -1 } },
    {
      event: 'kvm_notify',
      time: 7n,
      vcpu: 0,
      dropped: 0,
      args: { cpu_index: 0, rip: 2n ** 63n, context_invalid: true, injected: false, resumed: true },
    },
    { event: 'kvm_cpu_exec', time: 8n, vcpu: 0, dropped: 0, args: {} },
  ])
})

test('a line of JSON has every member of a record', t => {
  const args = { cpu_index: 0, rip: 0x10n, context_invalid: false, injected: true, resumed: true }
  t.is(
    jsonLine(record('kvm_notify', 2n ** 60n, args, { dropped: 3 })),
    '{"time":1152921504606846976,"event":"kvm_notify","vcpu":0,"dropped":3,' +
      '"args":{"cpu_index":0,"rip":"0x10","context_invalid":false,"injected":true,"resumed":true}}\n',
  )
})

test('a Chrome trace has a slice for each period in the guest and in user space', t => {
  const run = { cpu_index: 0, type: 0xae80, name: 'KVM_RUN' }
  const chrome = new ChromeTrace()
  const text = [
    record('kvm_cpu_exec', 1000n, {}),
    record('kvm_vcpu_ioctl', 2000n, run),
    record('kvm_run_exit', 5000n, { cpu_index: 0, reason: 2 }),
    record('kvm_vcpu_ioctl', 5500n, run),
    record('kvm_io_window_exit', 9500n, {}),
    record('kvm_destroy_vcpu', 10_000n, { cpu_index: 0, arch_cpu_id: 0 }, { dropped: 4 }),
    record('kvm_irqchip_commit_routes', 11_000n, {}, { vcpu: null }),
  ]
    .map(one => chrome.record(one))
    .join('')
  const events = JSON.parse(text + chrome.end()) as { ph: string; name: string; ts: number; dur: number; tid: number }[]
  t.deepEqual(
    events.filter(({ ph }) => ph === 'X').map(({ name, ts, dur }) => [name, ts, dur]),
    [
      ['guest', 1, 3],
      ['io', 4, 0.5],
      ['guest', 4.5, 4],
      ['interrupted', 8.5, 0.5],
    ],
  )
  t.deepEqual(
    events.filter(({ ph }) => ph === 'i').map(({ name, tid }) => [name, tid]),
    [
      ['kvm_cpu_exec', 1],
      ['dropped', 1],
      ['kvm_irqchip_commit_routes', 0],
    ],
  )
  t.is(events.filter(({ ph }) => ph === 'M').length, 3)
  t.is((JSON.parse(new ChromeTrace().end()) as unknown[]).length, 1)
})
