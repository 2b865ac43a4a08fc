const PREFIX = 0x01
const ctrl = (key: string): number => key.charCodeAt(0) & 0x1f

/** What a stretch of typed bytes asks for. */
export type Typed = { readonly kind: 'guest'; readonly bytes: Buffer } | { readonly kind: 'quit' | 'help' }

/** What the keys do, for the terminal that asks. */
export const escapeKeysHelp = [
  'Ctrl-A x       ends the machine',
  'Ctrl-A c, h    tells these keys',
  'Ctrl-A Ctrl-A  sends Ctrl-A to the guest',
].join('\n')

/** Tells the guest's keys from those after Ctrl-A, which are QEMU's (its manual, "Keys in the character backend multiplexer"). */
export class EscapeKeys {
  #prefixed = false

  /** Takes what was typed, in pieces of any size. A key that means nothing after Ctrl-A is dropped, as in QEMU. */
  read(keys: Buffer): readonly Typed[] {
    const typed: Typed[] = []
    let begin = 0
    for (const [at, key] of keys.entries()) {
      if (!this.#prefixed) {
        if (key !== PREFIX) continue
        if (at > begin) typed.push({ kind: 'guest', bytes: keys.subarray(begin, at) })
        this.#prefixed = true
        continue
      }
      this.#prefixed = false
      begin = at + 1
      if (key === PREFIX) typed.push({ kind: 'guest', bytes: keys.subarray(at, begin) })
      else if (isKey(key, 'x')) typed.push({ kind: 'quit' })
      else if (isKey(key, 'c') || isKey(key, 'h') || key === '?'.charCodeAt(0)) typed.push({ kind: 'help' })
    }
    if (!this.#prefixed && begin < keys.length) typed.push({ kind: 'guest', bytes: keys.subarray(begin) })
    return typed
  }
}

/** Pressed with or without Ctrl still held. */
function isKey(key: number, name: string): boolean {
  return key === name.charCodeAt(0) || key === ctrl(name)
}
