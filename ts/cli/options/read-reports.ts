import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import { parseOptionText } from '../../properties/option-text.js'
import { traceEvents } from '../../trace/events.js'
import { matchesNothing, traceEventNames } from '../../trace/glob.js'
import type { TraceSettings } from '../reports/trace.js'
import { lastOfEach, type RunDraft } from '../draft/run-draft.js'

/** `SECONDS[,file=PATH]`. */
export function readStats(draft: RunDraft, text: string): void {
  const given = parameters('-stats', text, 'seconds', ['seconds', 'file'])
  const seconds = Number(given.get('seconds'))
  // The bounds of a timer.
  if (!(seconds >= 0.001 && seconds <= 2_000_000)) {
    const message = `-stats expects a number of seconds from 0.001 to 2000000, and not '${given.get('seconds') ?? ''}'`
    throw new OptionError(message, { option: '-stats', remedy: "For example '-stats 1,file=stats.jsonl'." })
  }
  draft.stats = { seconds, file: given.get('file') ?? null }
}

/** Reads `key=value,…` whose first key may be left out. */
function parameters(option: string, text: string, implied: string, known: readonly string[]): Map<string, string> {
  const given = lastOfEach(parseOptionText(text, implied))
  for (const [key, value] of given) {
    if (!known.includes(key)) {
      const remedy = `Use ${either(known.map(name => `${name}=`))}.`
      throw new OptionError(`${option}: unknown parameter '${key}'.${didYouMean(key, known)}`, { option, remedy })
    }
    if (key === 'file' && value === '') {
      throw new OptionError(`${option} file= expects a path`, {
        option,
        remedy: 'Leave out file= to write to standard error.',
      })
    }
  }
  return given
}

/** `[enable=]PATTERN[,file=PATH][,format=json|chrome]`. */
export function readTrace(draft: RunDraft, text: string): string | void {
  if (text === 'help' || text === '?') return traceHelp()
  const given = parameters('-trace', text, 'enable', ['enable', 'file', 'format'])
  const glob = given.get('enable')
  if (glob !== undefined) {
    const problem = matchesNothing(glob)
    if (problem === undefined) draft.trace.globs.push(glob)
    else draft.notices.push(`-trace: ${problem} '-trace help' lists them`)
  }
  const file = given.get('file')
  if (file !== undefined) draft.trace.file = file
  const format = given.get('format')
  if (format !== undefined) {
    if (format !== 'json' && format !== 'chrome') {
      const message = `-trace format= expects json or chrome, and not '${format}'`
      throw new OptionError(message, {
        option: '-trace',
        remedy: "For example '-trace kvm_*,file=trace.json,format=chrome'.",
      })
    }
    draft.trace.format = format
  }
}

/**
 * Returns the events that the machine must record. A Chrome trace needs every entry into the guest
 * and every exit for its slices.
 */
export const tracedEvents = ({ globs, format }: TraceSettings): readonly string[] =>
  format === 'chrome' ? [...globs, 'kvm_vcpu_ioctl', 'kvm_run_exit', 'kvm_io_window_exit'] : globs

function traceHelp(): string {
  const width = Math.max(...traceEventNames.map(name => name.length))
  return traceEventNames.map(name => `${name.padEnd(width)}  ${traceEvents[name].about}`).join('\n')
}
