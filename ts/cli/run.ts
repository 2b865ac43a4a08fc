import { isatty } from 'node:tty'
import type { Exit } from '../machine/events/exit.js'
import { Machine } from '../machine/machine.js'
import type { SerialTarget } from '../machine/config/serial.js'
import { printError, printWarning, writeText } from './messages.js'
import { imageFiles } from './image-files.js'
import { writePidfile } from './process/pidfile.js'
import { resolveRun, type RunRequest, type RunSettings } from './argv/resolve-run.js'
import { Signals, type Ending } from './process/signals.js'
import { connectInput } from './process/terminal.js'

/** The exit status of a machine that stopped in `internal-error`: EX_SOFTWARE of sysexits.h. */
const INTERNAL_ERROR = 70

/**
 * Runs `kvm-accel run`: reads QEMU's command line, runs the machine and returns the exit status.
 * Never throws.
 */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    const request = resolveRun(argv, imageFiles)
    if (request.kind === 'run') return await runMachine(request)
    for (const notice of request.notices) printWarning(notice)
    process.stdout.write(`${request.text}\n`)
    return 0
  } catch (error) {
    printError(error)
    return 1
  }
}

async function runMachine({ machine: options, run }: Extract<RunRequest, { kind: 'run' }>): Promise<number> {
  // Without a reader of standard error, messages are lost. The machine is not.
  process.stderr.on('error', () => {})
  for (const notice of run.notices) printWarning(notice)
  using signals = new Signals()
  // The creation of a machine may wait for a client, so a signal must be able to abort it.
  const making = new AbortController()
  void signals.received.then(signal => making.abort(signal))
  const removePidfile = run.pidfile === null ? undefined : writePidfile(run.pidfile)
  try {
    const targets = options.serials ?? [options.serial ?? null]
    const consoles = (options.consoles ?? []).map(({ target }) => target)
    if ([...targets, ...consoles].some(waitsForClient)) printWarning('waiting for the first client of the serial port')
    await using machine = await Machine.create({ ...options, signal: making.signal })
    for (const [index, port] of machine.serials.entries()) {
      if (targets[index] === 'pty') printWarning(`COM${index + 1} is at ${port?.path}`)
    }
    for (const [index, port] of machine.consoles.entries()) {
      if (consoles[index] === 'pty') printWarning(`${port.name ?? `console ${index}`} is at ${port.path}`)
    }
    machine.on('warning', ({ code, message }) => {
      printWarning(message)
      // As a program that SIGPIPE ends: the guest has lost its console.
      if (code === 'STDOUT_CLOSED') signals.raise('SIGPIPE')
    })
    // Loaded only on request, so that the guest's first byte does not wait for the module.
    await using _trace = run.trace && (await import('./reports/trace.js')).writeTrace(machine, run.trace)
    await using _stats = run.stats && (await import('./reports/stats.js')).reportStats(machine, run.stats)
    const serial = machine.serials[targets.indexOf('stdio')]
    const console = machine.consoles[consoles.indexOf('stdio')]
    const connect = () => connectInput(console ?? serial, () => signals.raise('Ctrl-A x'))
    // A terminal enters raw mode before the guest's first byte. Any other input is opened while the
    // guest starts.
    using _terminal = isatty(0) ? connect() : undefined
    const started = run.paused ? undefined : machine.start()
    using _input = _terminal ? undefined : connect()
    await started
    return await untilTheEnd(machine, run, signals)
  } catch (error) {
    if (making.signal.aborted && error === making.signal.reason) return ended(error as Ending)
    throw error
  } finally {
    removePidfile?.()
  }
}

function waitsForClient(target: SerialTarget | null): boolean {
  return typeof target === 'object' && target !== null && 'wait' in target && target.wait === true
}

async function untilTheEnd(machine: Machine, { noShutdown }: RunSettings, signals: Signals): Promise<number> {
  const exit = await Promise.race([machine.wait(), signals.received])
  if (typeof exit === 'string') return ended(exit)
  if (exit.reason === 'internal-error') reportInternalError(exit)
  if (exit.reason === 'guest-panicked') printWarning('the guest panicked')
  // `-no-shutdown` does not apply to a debug exit: in QEMU, the port ends the process at once.
  if (noShutdown && exit.reason !== 'debug-exit') return ended(await signals.received)
  return exitStatus(exit)
}

function exitStatus({ reason, status = 1 }: Exit): number {
  if (reason === 'debug-exit') return status
  return reason === 'internal-error' ? INTERNAL_ERROR : 0
}

function reportInternalError({ detail, report }: Exit): void {
  writeText(`kvm-accel: error: the machine stopped in internal-error: ${detail ?? 'no reason is known'}\n`)
  if (report !== undefined) writeText(report.endsWith('\n') ? report : `${report}\n`)
}

/** Reports the signal. As in QEMU, the exit status is 0. */
function ended(ending: Ending): number {
  writeText(`kvm-accel: terminating on ${ending}\n`)
  return 0
}
