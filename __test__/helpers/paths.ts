import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The root of this package, with a final slash. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

/** True on the second host, whose processor is QEMU's emulator. */
export const emulated = readFileSync('/proc/cpuinfo', 'utf8').includes('QEMU TCG')

/** The compiled command line. */
export const cli = join(root, 'dist/cli/kvm-accel.js')

const library = 'libkvm_accel_interposer.so'

/**
 * The path of the interposer: `KVM_ACCEL_INTERPOSER`, the library that `npm test` built, or the one
 * that cargo built in either profile.
 */
export const interposer = [
  process.env['KVM_ACCEL_INTERPOSER'] ?? '',
  join(root, 'target/kvm-accel', library),
  join(root, 'target/release', library),
  join(root, 'target/debug', library),
].find(path => path !== '' && existsSync(path))

let folder: string | undefined

/** Returns a folder of this process, which is removed when the process ends. */
export const scratch = (): string => {
  if (folder === undefined) {
    const created = mkdtempSync(join(tmpdir(), 'kvm-accel-test-'))
    process.once('exit', () => rmSync(created, { recursive: true, force: true }))
    folder = created
  }
  return folder
}
