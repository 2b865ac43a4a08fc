import type { AccelProperties } from '../properties/types.js'
import { native, unwrap } from '../native/native.js'
import { StagedBytes } from '../native/staged-bytes.js'
import { toNative } from '../native/to-native.js'
import { Control, type Reply } from './control.js'
import type { NormalMachineOptions } from './config/normal-options.js'

/** A machine that exists natively. */
export interface CreatedMachine {
  readonly control: Control
  /** Of the accelerator that was initialised. */
  readonly properties: AccelProperties
  readonly created: Reply<'created'>
}

/**
 * Creates the machine on its control thread. Where several accelerators were given, the next is tried when one fails to initialise; the
 * last failure is thrown, and a device that does not open is explained.
 *
 * @throws what `signal` was aborted with, within about 100 ms.
 */
export async function createMachine(options: NormalMachineOptions): Promise<CreatedMachine> {
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
  // Loaded only now: a start that succeeds does not wait for it.
  const { explainUnavailable } = await import('../host/explain.js')
  throw await explainUnavailable(last?.error, last?.device)
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
