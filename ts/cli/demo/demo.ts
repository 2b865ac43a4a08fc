import { relative } from 'node:path'
import { packageFile } from '../package-file.js'
import type { Paint } from '../process/paint.js'
import { steps } from './steps.js'

/** The whole demo takes about a second. A host on which it hangs ends it after this time, in ms. */
const LIMIT = 60_000

/** Runs `kvm-accel demo`: boots embedded guests, and writes the code and its results. */
export async function demo(write: (text: string) => void, paint: Paint): Promise<void> {
  const signal = AbortSignal.timeout(LIMIT)
  const start = performance.now()
  for (const [index, { title, code, page, run }] of steps.entries()) {
    write(`${paint.strong(`${index + 1}. ${title}`)}\n\n`)
    for (const line of code.split('\n')) write(paint.dim(`    ${line}`) + '\n')
    write('\n')
    await run(line => write(`  ${paint.good(line)}\n`), signal)
    write(`\n  ${paint.dim(`more: ${relative(process.cwd(), packageFile(page))}`)}\n\n`)
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  write(`${steps.length} guests ran in ${seconds} s, in this process.
  'kvm-accel guests' lists the embedded guests. 'kvm-accel run' boots a kernel of yours; see
  ${relative(process.cwd(), packageFile('docs/tutorial/boot-your-linux.md'))}
`)
}
