import type { Machine } from '../../machine/machine.js'
import { ChromeTrace } from '../../trace/chrome.js'
import { jsonLine } from '../../trace/json.js'
import { printError, printWarning } from '../messages.js'
import { openOutput } from './output.js'

/** `-trace`. */
export interface TraceSettings {
  /** Globs, each of which matches an event. */
  readonly globs: readonly string[]
  /** The file; `null` for standard error. */
  readonly file: string | null
  readonly format: 'json' | 'chrome'
}

/**
 * Writes the trace records of a machine. Disposing it ends the machine, because the end emits the
 * last records.
 */
export function writeTrace(machine: Machine, { file, format }: TraceSettings): AsyncDisposable {
  const output = openOutput('-trace', file)
  const chrome = format === 'chrome' ? new ChromeTrace() : undefined
  const trace = machine.startTrace
  const write = async (): Promise<void> => {
    if (!trace) return
    for await (const record of trace) output.write(chrome ? chrome.record(record) : jsonLine(record))
    if (chrome) output.write(chrome.end())
    if (trace.dropped > 0) printWarning(`-trace lost ${trace.dropped} records: the guest was faster than the output`)
  }
  const done = write().catch(printError)
  return {
    async [Symbol.asyncDispose]() {
      await machine.stop()
      await done
      output[Symbol.dispose]()
    },
  }
}
