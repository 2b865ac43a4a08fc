// The layout of help: two columns, of which the right one is wrapped.

const COLUMN = 30
const WIDTH = 100

/** Formats two columns. Removes the marks of code from the right one. */
export function row(left: string, right: string): string {
  const indent = ' '.repeat(COLUMN)
  const lines = wrap(right.replaceAll('`', ''), WIDTH - COLUMN).join(`\n${indent}`)
  if (lines === '') return `  ${left}`
  return left.length < COLUMN - 2 ? `  ${left.padEnd(COLUMN - 2)}${lines}` : `  ${left}\n${indent}${lines}`
}

/** Breaks a text at spaces into lines of at most `width` columns. */
export function wrap(text: string, width: number): string[] {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1] ?? ''
    if (line === '') lines[lines.length - 1] = word
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines
}
