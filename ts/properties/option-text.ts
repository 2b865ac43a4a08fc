/**
 * QEMU's option text: `first,key=value,key=value`, where `,,` is a comma inside a value.
 *
 * The text has two grammars. Options such as `-accel` and `-device` accept a bare key as a boolean,
 * which QEMU deprecates: `key` means `key=on`, and `nokey` means `key=off`. `-machine` refuses a
 * bare key. {@link OptionPair.bare} marks bare keys.
 */

/** One `key=value` pair of an option's text. */
export interface OptionPair {
  readonly key: string
  readonly value: string
  /** True if the key stood alone. `value` is then the value that QEMU assumes. */
  readonly bare?: true
}

/**
 * Splits an option's text into pairs. Keeps the order and duplicates.
 *
 * @param implied The key of a first word that stands alone.
 * @param known Keys that a bare word is compared with before a leading `no` is read as a negation.
 * A bare `notify-window` is therefore not read as `tify-window=off`, as QEMU 7.2 does.
 */
export function parseOptionText(text: string, implied?: string, known: readonly string[] = []): OptionPair[] {
  const pairs: OptionPair[] = []
  let at = 0
  while (at < text.length) {
    const keyEnd = endOfKey(text, at)
    const key = text.slice(at, keyEnd)
    if (text[keyEnd] === '=') {
      const value = readValue(text, keyEnd + 1)
      pairs.push({ key, value: value.text })
      at = value.next
    } else if (at === 0 && implied !== undefined) {
      const value = readValue(text, 0)
      pairs.push({ key: implied, value: value.text })
      at = value.next
    } else {
      pairs.push(bareKey(key, known))
      at = keyEnd + 1
    }
  }
  return pairs
}

/** Formats pairs as a text that {@link parseOptionText} parses to the same pairs. */
export function formatOptionText(pairs: readonly OptionPair[]): string {
  return pairs.map(({ key, value }) => `${key}=${value.replaceAll(',', ',,')}`).join(',')
}

function endOfKey(text: string, from: number): number {
  let end = from
  while (end < text.length && text[end] !== ',' && text[end] !== '=') end++
  return end
}

/**
 * Returns the value that begins at `from`, with its commas unescaped, and the index of the next
 * pair.
 */
function readValue(text: string, from: number): { text: string; next: number } {
  let value = ''
  let at = from
  for (; at < text.length; at++) {
    if (text[at] === ',' && text[++at] !== ',') return { text: value, next: at }
    value += text[at]
  }
  return { text: value, next: at }
}

function bareKey(key: string, known: readonly string[]): OptionPair {
  if (!known.includes(key) && key.startsWith('no')) return { key: key.slice(2), value: 'off', bare: true }
  return { key, value: 'on', bare: true }
}
