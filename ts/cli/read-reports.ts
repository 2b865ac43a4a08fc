import { OptionError } from '../errors/option-error.js'
import { didYouMean, either } from '../errors/suggest.js'
import { parseOptionText } from '../properties/option-text.js'
import { lastOfEach, type RunDraft } from './run-draft.js'

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
      const remedy = `It takes ${either(known.map(name => `${name}=`))}.`
      throw new OptionError(`${option} has no parameter '${key}'.${didYouMean(key, known)}`, { option, remedy })
    }
    if (key === 'file' && value === '') {
      throw new OptionError(`${option} file= expects a path`, {
        option,
        remedy: 'Without file= it goes to standard error.',
      })
    }
  }
  return given
}
