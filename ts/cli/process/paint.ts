/** Marks text: unchanged, or with colours. */
export interface Paint {
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
  readonly dim: (text: string) => string
  readonly strong: (text: string) => string
}

/** Leaves text unchanged. */
export const plain: Paint = { good: text => text, bad: text => text, dim: text => text, strong: text => text }

const coloured: Paint = {
  good: text => `\u001b[32m${text}\u001b[39m`,
  bad: text => `\u001b[31m${text}\u001b[39m`,
  dim: text => `\u001b[2m${text}\u001b[22m`,
  strong: text => `\u001b[1m${text}\u001b[22m`,
}

/**
 * Chooses colours on a terminal that supports them, unless NO_COLOR is set (https://no-color.org).
 */
export function choosePaint(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): Paint {
  return stream.isTTY && !env['NO_COLOR'] && env['TERM'] !== 'dumb' ? coloured : plain
}
