import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean } from '../../errors/suggest.js'
import { boardMembers, type LostTickPolicy } from '../../machine/config/board.js'
import { parseOptionText } from '../../properties/option-text.js'
import { deviceModels } from '../devices/index.js'
import { lastOfEach, type RunDraft } from '../draft/run-draft.js'
import { only, readParameters, type Parameter, type Parameters } from '../parameters/parameters.js'

/** The drivers of the board that are no devices of `-device`, with their properties. */
const boardDrivers: Readonly<Record<string, Parameters>> = {
  'kvm-pit': { lost_tick_policy: boardMembers.lostTickPolicy.argument as Parameter<LostTickPolicy> },
  mc146818rtc: { lost_tick_policy: only('discard', 'lost ticks are not made up for') },
  'virtio-mmio': {
    'force-legacy': only('off', 'all devices have split rings of virtio 1'),
    ioeventfd: only('on', 'the kernel signals notifications of queues'),
  },
}

/**
 * Reads `-global`: QEMU's short form `DRIVER.PROPERTY=VALUE`, or its long form with `driver=`,
 * `property=` and `value=`.
 */
export function readGlobal(draft: RunDraft, text: string): void {
  const option = '-global'
  const [driver = '', key = '', value = ''] = /^([^.=,]+)\.([^=,]+)=(.*)$/s.exec(text)?.slice(1) ?? longForm(text)
  if (driver === '' || key === '') {
    const message = `-global expects DRIVER.PROPERTY=VALUE, and not '${text}'`
    throw new OptionError(message, { option, remedy: "For example '-global virtio-net-device.host_mtu=1400'." })
  }
  const parameters = boardDrivers[driver] ?? deviceModels.find(({ name }) => name === driver)?.parameters
  if (parameters === undefined) {
    const names = [...Object.keys(boardDrivers), ...deviceModels.map(({ name }) => name)]
    const meant = didYouMean(driver, names)
    // QEMU, too, ignores what is set for a driver that no device has.
    draft.notices.push(`-global ${driver}.${key} has no effect: there is no driver '${driver}'.${meant}`)
    return
  }
  const read = readParameters({ option, what: `-global ${driver}` }, [{ key, value }], parameters)
  if (driver === 'kvm-pit') draft.lostTickPolicy = read[key] as LostTickPolicy
  else draft.globals.set(driver, { ...draft.globals.get(driver), ...read })
}

function longForm(text: string): [string, string, string] {
  const given = lastOfEach(parseOptionText(text, 'driver'))
  return [given.get('driver') ?? '', given.get('property') ?? '', given.get('value') ?? '']
}
