import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Script } from 'node:vm'

/**
 * The file of each bundle; set by the build. A file name contains a hash of the contents, so
 * compiled code always belongs to its source.
 */
declare const BUNDLES: { readonly run: string; readonly commands: string }

interface Bundles {
  run: typeof import('./run.js')
  commands: typeof import('./commands.js')
}

/**
 * Loads a part of the command line. The build also compiles it (npm/scripts/compile-bundle.mjs),
 * which saves 10 ms if the same build of Node runs it. V8 rejects code that was compiled with other
 * flags, and compiles the source instead.
 */
export function loadBundle<K extends keyof Bundles>(name: K): Bundles[K] {
  const filename = join(__dirname, BUNDLES[name])
  // A bundle is one function expression in ASCII, so latin1 decodes it.
  const source = readFileSync(filename, 'latin1')
  const script = new Script(source, { filename, cachedData: compiledCode(`${filename}.compiled`) })
  const module = { exports: {} as Bundles[K] }
  script.runInThisContext()(module.exports, require, module, filename, __dirname)
  return module.exports
}

/**
 * Returns the compiled code in a file. The file ends with the identity of the Node that compiled
 * it, because V8 checks its own version only. Returns undefined for another Node.
 */
function compiledCode(path: string): Buffer | undefined {
  try {
    const file = readFileSync(path)
    const identity = Buffer.from(JSON.stringify([process.versions, process.config]))
    const end = file.length - identity.length
    return end > 0 && file.subarray(end).equals(identity) ? file.subarray(0, end) : undefined
  } catch {
    return undefined
  }
}
