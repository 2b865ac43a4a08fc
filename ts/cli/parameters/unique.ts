import { OptionError } from '../../errors/options/option-error.js'

/** Adds an entry by its id. @throws {@link OptionError} when the id is already in use. */
export function addUnique<T>(option: string, things: Map<string, T>, id: string, thing: T): void {
  if (things.has(id)) {
    throw new OptionError(`${option}: id '${id}' is already in use`, { option, remedy: 'Choose another id=.' })
  }
  things.set(id, thing)
}
