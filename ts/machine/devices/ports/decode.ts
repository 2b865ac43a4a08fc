import { StringDecoder } from 'node:string_decoder'

/** Decodes UTF-8. A character whose last bytes have not arrived yet is left out. */
export const decode = (bytes: Buffer): string => new StringDecoder('utf8').write(bytes)

/** Returns the number of bytes of which the first `length` code units of the text were decoded. */
export function offsetOf(bytes: Buffer, length: number): number {
  let [low, high] = [0, bytes.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (decode(bytes.subarray(0, middle)).length >= length) high = middle
    else low = middle + 1
  }
  return low
}
