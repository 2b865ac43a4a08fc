import { readFileSync } from 'node:fs'

/** Returns the package's version. */
export function packageVersion(): string {
  // The relative path is the same from ts/cli and from dist/cli, bundled or not.
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return String((manifest as { version: unknown }).version)
}

/** Returns the text that `-version` prints. */
export function versionText(): string {
  return `kvm-accel version ${packageVersion()}`
}
