// Resolves the ids that devices refer to: drives, network back ends, character devices and objects.

import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean } from '../../errors/suggest.js'
import type { SerialTarget } from '../../machine/config/serial.js'
import type { BoardDraft, BoardParts, DriveDraft } from './board-draft.js'
import type { NetworkBackend } from '../../machine/config/virtio/networks.js'
import type { Subject } from '../parameters/parameters.js'

/** The kinds of ids, and the options that define them. */
const makers = {
  drive: '-drive or -blockdev',
  netdev: '-netdev',
  chardev: '-chardev',
  object: '-object',
} as const

type Kind = keyof typeof makers

/** Adds a device to a board. Called after all options were read, so that every id is known. */
export type AddDevice = (board: Board) => void

/** Collects the devices of a machine. */
export class Board {
  readonly devices: BoardDraft = { disks: [], networks: [], consoles: [], serials: [] }
  /** True if the machine has a virtio-serial bus, which the ports of a virtio console need. */
  hasPortBus = false
  readonly #parts: BoardParts
  readonly #used: Set<string>

  constructor(parts: BoardParts) {
    this.#parts = parts
    this.#used = new Set([...parts.lowerNodes].map(id => `drive ${id}`))
  }

  /** Returns the properties that `-global` sets for a driver. */
  globals(driver: string): Readonly<Record<string, unknown>> {
    return this.#parts.globals.get(driver) ?? {}
  }

  drive(subject: Subject, id: string): DriveDraft {
    return this.#take('drive', this.#parts.drives, subject, id)
  }

  network(subject: Subject, id: string): NetworkBackend {
    return this.#take('netdev', this.#parts.networks, subject, id)
  }

  character(subject: Subject, id: string): SerialTarget {
    return this.#take('chardev', this.#parts.characters, subject, id)
  }

  /** Returns the source of an entropy device. Several devices may share it. */
  entropy({ option, what = option }: Subject, id: string): string {
    const object = this.#find('object', this.#parts.objects, { option, what }, id)
    if (object.kind === 'rng') return object.source
    const message = `${what}: invalid object '${id}': expected a source of random bytes, and not memory`
    throw new OptionError(message, { option, remedy: `Create one with '-object rng-random,id=…'.` })
  }

  /** Claims a device that a machine has only once. */
  set<K extends 'rng' | 'vsock' | 'balloon' | 'debugConsole' | 'debugExit' | 'pvpanic' | 'vmGenerationId'>(
    { option, what = option }: Subject,
    key: K,
    device: NonNullable<BoardDraft[K]>,
  ): void {
    if (this.devices[key] !== undefined) {
      throw new OptionError(`${what} is given twice: a machine has at most one`, { option, remedy: 'Give it once.' })
    }
    ;(this.devices as Pick<BoardDraft, K>)[key] = device
  }

  /** Lists the drives, back ends and character devices that no device uses, for warnings. */
  unused(): string[] {
    const { drives, networks, characters } = this.#parts
    const unused = (kind: Kind, ids: Iterable<string>) =>
      [...ids].filter(id => !this.#used.has(`${kind} ${id}`)).map(id => `${makers[kind]}: nothing uses '${id}'`)
    return [
      ...unused('drive', drives.keys()),
      ...unused('netdev', networks.keys()),
      ...unused('chardev', characters.keys()),
    ]
  }

  #find<T>(kind: Kind, things: ReadonlyMap<string, T>, { option, what = option }: Subject, id: string): T {
    const thing = things.get(id)
    if (thing !== undefined) return thing
    const message = `${what}: unknown ${kind} '${id}'.${didYouMean(id, things.keys())}`
    throw new OptionError(message, { option, remedy: `Create it with ${makers[kind]}.` })
  }

  #take<T>(kind: Kind, things: ReadonlyMap<string, T>, subject: Subject, id: string): T {
    const { option, what = option } = subject
    const thing = this.#find(kind, things, subject, id)
    if (this.#used.has(`${kind} ${id}`)) {
      const message = `${what}: ${kind} '${id}' is in use`
      throw new OptionError(message, { option, remedy: `Create another one with ${makers[kind]}.` })
    }
    this.#used.add(`${kind} ${id}`)
    return thing
  }
}
