// `node compile-bundle.mjs BUNDLE KERNEL` compiles `kvm-accel run` and writes V8's code beside the
// bundle, for ts/cli/load-bundle.ts. V8 compiles a function at its first call, so the bundle first
// runs a guest. Without /dev/kvm it runs until the creation of the machine fails, and the compiled
// code then lacks the functions after that point.

import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { Script } from 'node:vm'

const [filename, kernel] = process.argv.slice(2)
const script = new Script(readFileSync(filename, 'latin1'), { filename })
const module = { exports: {} }
script.runInThisContext()(module.exports, createRequire(filename), module, filename, dirname(filename))
const argv = '-M microvm -m 16M -nodefaults -no-user-config -display none -serial stdio -no-reboot -kernel'.split(' ')
await module.exports.run([...argv, kernel])
const identity = Buffer.from(JSON.stringify([process.versions, process.config]))
const compiled = `${filename}.compiled`
// Written to a second file first, because V8 crashes on an incomplete file.
writeFileSync(`${compiled}.new`, Buffer.concat([script.createCachedData(), identity]))
renameSync(`${compiled}.new`, compiled)
process.exit(0)
