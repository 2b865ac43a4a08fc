import { readFileSync } from 'node:fs'
import { packageFile } from './package-file.js'

/** Returns the package's version. */
export function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(packageFile('package.json'), 'utf8'))
  return String((manifest as { version: unknown }).version)
}

/** Returns the text that `-version` prints. */
export function versionText(): string {
  return `kvm-accel version ${packageVersion()}`
}
