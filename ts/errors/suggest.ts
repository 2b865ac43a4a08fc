/**
 * Returns the candidate that was most likely meant: at most two edits away, or a third of the
 * length of a short word.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bound = Math.min(2, Math.ceil(word.length / 3)) + 1
  for (const candidate of candidates) {
    const slips = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (slips < bound) {
      best = candidate
      bound = slips
    }
  }
  return best
}

/** Returns ` Did you mean 'X'?` for the end of a message, or an empty text. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const meant = nearest(word, candidates)
  return meant === undefined ? '' : ` Did you mean '${meant}'?`
}

/** Joins words: `a, b or c`. */
export function either(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}

/**
 * Counts the insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
 */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      let cost = Math.min(at(row, j - 1) + 1, at(last, j) + 1, at(last, j - 1) + same)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, at(beforeLast, j - 2) + 1)
      row.push(cost)
    }
    beforeLast = last
    last = row
  }
  return at(last, b.length)
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY
}
