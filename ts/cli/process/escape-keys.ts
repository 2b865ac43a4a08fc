const PREFIX = 0x01
const ctrl = (key: string): number => key.charCodeAt(0) & 0x1f

/** The meaning of a sequence of typed bytes. */
export type Typed = { readonly kind: 'guest'; readonly bytes: Buffer } | { readonly kind: 'quit' | 'help' }

/** The help text of the keys. */
export const escapeKeysHelp = [
  'Ctrl-A x       ends the machine',
  'Ctrl-A c, h    lists these keys',
  'Ctrl-A Ctrl-A  sends Ctrl-A to the guest',
].join('\n')

/**
 * Separates the guest's keys from the keys after Ctrl-A, which are those of QEMU (its manual, "Keys
 * in the character backend multiplexer").
 */
export class EscapeKeys {
  #prefixed = false

  /**
   * Takes typed bytes, in pieces of any size. An unknown key after Ctrl-A is dropped, as in QEMU.
   */
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

/** Returns the key, which may have been pressed while Ctrl was still held. */
function isKey(key: number, name: string): boolean {
  return key === name.charCodeAt(0) || key === ctrl(name)
}
