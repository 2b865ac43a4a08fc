import type { AccelProperties } from '../../properties/schema.js'
import { native, unwrap } from '../../native/native.js'
import { StagedBytes } from '../../native/staged-bytes.js'
import { toNative } from './to-native.js'
import { checkRuntime } from './check-runtime.js'
import { Control, type Reply } from './control.js'
import type { NormalMachineOptions } from '../config/normal-options.js'

/** The native parts of a new machine. */
export interface CreatedMachine {
  readonly control: Control
  /** The properties of the accelerator that was initialised. */
  readonly properties: AccelProperties
  readonly created: Reply<'created'>
}

/**
 * Creates the machine on its control thread. If the options list several accelerators, it tries
 * them in order until one initialises.
 *
 * @throws `KvmUnavailableError` when the runtime cannot run a machine.
 * @throws the error of the last accelerator, with an explanation when its device cannot be opened.
 * @throws the reason of `signal` within about 100 ms of the abort.
 */
export async function createMachine(options: NormalMachineOptions): Promise<CreatedMachine> {
  checkRuntime()
  const failures: { error: unknown; device: string }[] = []
  for (const properties of options.accel.candidates) {
    try {
      return { ...(await begin(options, properties)), properties }
    } catch (error) {
      options.signal?.throwIfAborted()
      failures.push({ error, device: properties.device })
    }
  }
  const last = failures.at(-1)
  // Loaded only here, so that a successful start does not wait for the module. A process without
  // descriptors cannot load it, and reports the error unchanged.
  const explain = await import('../../host/explain.js').catch(() => undefined)
  throw explain ? await explain.explainUnavailable(last?.error, last?.device) : last?.error
}

async function begin(
  options: NormalMachineOptions,
  properties: AccelProperties,
): Promise<Omit<CreatedMachine, 'properties'>> {
  const { signal } = options
  using staged = new StagedBytes()
  const files = Object.values(options.fwCfg)
  await staged.stage([options.kernel, options.firmware, ...options.initrd.map(({ image }) => image), ...files], signal)
  // The control thread starts while the options are converted.
  const control = new Control(unwrap(native().startMachine()))
  const abort = () => control.end()
  signal?.addEventListener('abort', abort, { once: true })
  try {
    control.create(toNative(options, properties, staged))
    const created = await control.created()
    signal?.throwIfAborted()
    return { control, created }
  } catch (error) {
    control.end()
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}
