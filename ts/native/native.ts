// Loads the addon. No other file imports it. It is loaded at the first use, so that the package can
// be imported on every platform.

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { KvmUnavailableError } from '../errors/host/kvm-unavailable-error.js'
import { fromNative, type NativeError } from '../errors/from-native.js'
import type { KvmAccelError } from '../errors/kvm-accel-error.js'
import type * as Binding from './binding.cjs'

/** The exports of the addon. */
export type Addon = typeof Binding

let addon: Addon | undefined

/**
 * Returns the addon, and loads it at the first call.
 *
 * @throws {@linkcode KvmUnavailableError} when this platform has no addon, or loading it fails.
 */
export const native = (): Addon => {
  addon ??= load()
  return addon
}

const load = (): Addon => {
  const platform = `${process.platform}-${process.arch}`
  try {
    // The path names the folder `native`, because the bundled command line lies in a folder beside
    // it.
    const require = createRequire(import.meta.url)
    return loadDirectly(require) ?? (require('../native/binding.cjs') as Addon)
  } catch (cause) {
    const supported = process.platform === 'linux' && process.arch === 'x64'
    throw supported
      ? new KvmUnavailableError(`cannot load the native addon of kvm-accel on ${platform}`, {
          reason: 'no-binary',
          remedy:
            'Install with optional dependencies (npm install without --omit=optional), so that the platform package is there; in a clone run `npm run build`.',
          cause,
        })
      : new KvmUnavailableError(`kvm-accel has no native addon for ${platform}`, {
          reason: 'unsupported-platform',
          remedy: 'Use Linux on x86-64. Parsing and validation work on every platform.',
          cause,
        })
  }
}

/** Environment variables that napi's generated loader (binding.cjs) reads. */
const LOADER_VARIABLES = ['NAPI_RS_NATIVE_LIBRARY_PATH', 'NAPI_RS_FORCE_WASI', 'NAPI_RS_ENFORCE_VERSION_CHECK']

/**
 * Loads the addon for x86-64 with glibc, from this clone or from its platform package, without the
 * generated loader. Compiling the generated loader and running its checks of the host takes longer
 * than loading the addon. Returns undefined if the generated loader must decide.
 */
function loadDirectly(require: NodeJS.Require): Addon | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64' || existsSync('/lib/ld-musl-x86_64.so.1')) return undefined
  if (LOADER_VARIABLES.some(name => process.env[name] !== undefined)) return undefined
  for (const file of ['../native/kvm-accel.linux-x64-gnu.node', 'kvm-accel-linux-x64-gnu']) {
    try {
      return require(file) as Addon
    } catch {
      // The generated loader reports the cause.
    }
  }
  return undefined
}

/** Creates the error from a result that the addon returned as data. */
export const errorOf = (error: Binding.BindingError): KvmAccelError => {
  const { address, ...details } = JSON.parse(error) as Omit<NativeError, 'address'> & { address: string | null }
  return fromNative({ ...details, address: address === null ? null : BigInt(address) })
}

/** Returns the addon's result, or throws the error that the addon returned as data. */
export const unwrap = <T extends object>(result: T | Binding.BindingError): T => {
  if (typeof result === 'string') throw errorOf(result)
  return result
}
