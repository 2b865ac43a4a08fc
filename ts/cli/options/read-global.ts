import { OptionError } from '../../errors/options/option-error.js'
import { boardMembers, type LostTickPolicy } from '../../machine/config/board.js'
import { parseOptionText } from '../../properties/option-text.js'
import { lastOfEach, type RunDraft } from '../draft/run-draft.js'

const property = 'kvm-pit.lost_tick_policy'

/**
 * Reads `-global`: QEMU's short form `DRIVER.PROPERTY=VALUE`, or its long form with `driver=`,
 * `property=` and `value=`.
 */
export function readGlobal(draft: RunDraft, text: string): void {
  const [name, value] = /^([^.=,]+\.[^=,]+)=(.*)$/.exec(text)?.slice(1) ?? longForm(text)
  if (name !== property) {
    const remedy = `The only property is ${property}, for example '-global ${property}=discard'.`
    throw new OptionError(`-global: unknown property '${name}'`, { option: '-global', remedy })
  }
  const { argument, defaultText } = boardMembers.lostTickPolicy
  const policy = argument?.read(value ?? '')
  if (policy === undefined) {
    const message = `-global ${property}= expects ${argument?.takes}, and not '${value}'`
    throw new OptionError(message, { option: '-global', remedy: `The default is ${defaultText}.` })
  }
  draft.lostTickPolicy = policy as LostTickPolicy
}

function longForm(text: string): [string, string] {
  const given = lastOfEach(parseOptionText(text, 'driver'))
  return [`${given.get('driver') ?? ''}.${given.get('property') ?? ''}`, given.get('value') ?? '']
}
