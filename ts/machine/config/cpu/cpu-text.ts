// The text of -cpu.

import { onOff, type Argument } from '../../../schema/argument.js'
import type { Entries } from '../../../schema/entry.js'
import { checkFeature, checkModel, type Refuse } from './names.js'

/** QEMU's older names of properties. */
const aliases: Readonly<Record<string, string>> = { 'tsc-freq': 'tsc-frequency' }

/**
 * Reads `MODEL[,+FEATURE][,-FEATURE][,FEATURE=on|off][,PROPERTY=VALUE]`.
 *
 * @param members The properties, by their `cli` names.
 */
export function parseCpuText(text: string, members: Entries, refuse: Refuse): Record<string, unknown> {
  const [model = '', ...words] = text.split(',')
  checkModel(model, refuse)
  const properties = new Map(Object.entries(members).map(([key, entry]) => [entry.cli, { key, ...entry }]))
  const names = [...properties.keys()].flatMap(name => name ?? [])
  const given: Record<string, boolean> = {}
  const added: string[] = []
  const removed: string[] = []
  const options: Record<string, unknown> = { model }
  for (const word of words) {
    if (word.startsWith('+')) added.push(checkFeature(word.slice(1), names, refuse))
    else if (word.startsWith('-')) removed.push(checkFeature(word.slice(1), names, refuse))
    else {
      const [spelled = '', value = 'on'] = word.split(/=(.*)/s)
      const name = spelled.replaceAll('_', '-')
      const property = properties.get(aliases[name] ?? name)
      const argument: Argument<unknown> = property?.argument ?? onOff
      const read = argument.read(value)
      if (read === undefined) {
        const takes = argument === onOff || property === undefined ? 'on or off' : property.takes
        throw refuse(`has an invalid value '${value}' for '${spelled}=': expected ${takes}`, `Omit '${spelled}='.`)
      }
      if (property !== undefined) options[property.key] = read
      else given[checkFeature(name, names, refuse)] = read as boolean
    }
  }
  // QEMU's order: first `FEATURE=VALUE`, then all `+FEATURE`, then all `-FEATURE`.
  const features: Record<string, boolean> = {}
  const put = (name: string, on: boolean) => {
    delete features[name]
    features[name] = on
  }
  for (const [name, on] of Object.entries(given)) put(name, on)
  for (const name of added) put(name, true)
  for (const name of removed) put(name, false)
  if (Object.keys(features).length > 0) options['features'] = features
  return options
}
