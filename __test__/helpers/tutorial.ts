// Runs the blocks of docs/tutorial/boot-your-linux.md that need a kernel. The folder has `vmlinuz`
// and `modules`. Usage: tutorial.ts FOLDER

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { codeBlocks } from './documents.js'
import { root } from './paths.js'
import { run } from './spawn.js'

const PAGE = 'docs/tutorial/boot-your-linux.md'

/** Runs the blocks in order. Returns their output. Throws if one fails. `append` is added to the kernel's command line. */
export async function runTutorial(folder: string, append = ''): Promise<string> {
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules/kvm-accel'))
  let output = ''
  for (const { code, words, file, line } of codeBlocks(PAGE)) {
    if (!words.includes('kernel')) continue
    const name = file ?? `block-${line}.sh`
    writeFileSync(join(folder, name), code.replace(' web=', ` ${append} web=`))
    if (file !== undefined) continue
    const { status, stdout, stderr } = await run('sh', ['-e', name], { cwd: folder, limit: 500 })
    if (status !== 0) throw new Error(`${PAGE}:${line}: status ${status}\n${stdout}${stderr}`)
    output += stdout
  }
  return output
}
