// The only door to the addon. It is loaded at the first use, so that the package imports on every platform.

import { createRequire } from 'node:module'
import { KvmUnavailableError } from '../errors/kvm-unavailable-error.js'
import { fromNative } from '../errors/from-native.js'
import type * as Binding from './binding.cjs'

/** What the addon exports. */
export type Addon = typeof Binding

let addon: Addon | undefined

/**
 * The addon.
 *
 * @throws {@linkcode KvmUnavailableError} when this platform has none, or it cannot be loaded.
 */
export const native = (): Addon => {
  addon ??= load()
  return addon
}

const load = (): Addon => {
  const platform = `${process.platform}-${process.arch}`
  try {
    // By its folder: the command line is bundled, and lies beside it.
    return createRequire(import.meta.url)('../native/binding.cjs') as Addon
  } catch (cause) {
    const supported = process.platform === 'linux' && process.arch === 'x64'
    throw supported
      ? new KvmUnavailableError(`The native addon of kvm-accel cannot be loaded on ${platform}`, {
          reason: 'no-binary',
          remedy:
            'Install with optional dependencies (npm install without --omit=optional), so that the platform package is there; in a clone run `npm run build`.',
          cause,
        })
      : new KvmUnavailableError(`kvm-accel has no native addon for ${platform}`, {
          reason: 'unsupported-platform',
          remedy: 'KVM needs Linux on x86-64; parsing and validation work everywhere.',
          cause,
        })
  }
}

/** Returns what the addon gave, or throws the error that it gave as data. */
export const unwrap = <T extends object>(result: T | Binding.BindingError): T => {
  if ('code' in result) throw fromNative(result as Binding.BindingError)
  return result as T
}
