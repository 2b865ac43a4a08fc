// Joins what devices refer to with what it is: drives, network back ends, character devices and objects by their ids.

import { OptionError } from '../errors/option-error.js'
import { didYouMean } from '../errors/suggest.js'
import type { BoardDraft, CharacterTarget, DriveDraft } from './board-draft.js'
import type { NetworkBackend } from '../machine/config/virtio/networks.js'
import type { Subject } from './parameters.js'
import type { RunDraft } from './run-draft.js'
import type { RunFiles } from './image-files.js'

/** Kinds of what devices refer to, and the options that make them. */
const makers = {
  drive: '-drive or -blockdev',
  netdev: '-netdev',
  chardev: '-chardev',
  object: '-object',
} as const

type Kind = keyof typeof makers

/** What adds a device to a board, when everything that it can refer to is known. */
export type AddDevice = (board: Board) => void

/** A machine's devices while they are put together. */
export class Board {
  readonly devices: BoardDraft = { disks: [], networks: [], consoles: [], serials: [] }
  /** A virtio console's ports need one. */
  hasPortBus = false
  readonly #draft: RunDraft
  readonly #used: Set<string>
  readonly #files: RunFiles

  constructor(draft: RunDraft, files: RunFiles) {
    this.#draft = draft
    this.#files = files
    this.#used = new Set([...draft.lowerNodes].map(id => `drive ${id}`))
  }

  /** An image. Whose format is not told is raw: what a guest wrote into its first bytes must not make it something else. */
  drive(subject: Subject, id: string): Required<DriveDraft> {
    const drive = this.#take('drive', this.#draft.drives, subject, id)
    if (drive.format === undefined && this.#files.isQcow2(drive.path)) {
      const message = `-drive: '${drive.path}' begins as a qcow2 image, and format= is not given`
      throw new OptionError(message, { option: '-drive', remedy: "Say what it is: 'format=qcow2', or 'format=raw'." })
    }
    return { format: 'raw', ...drive }
  }

  network(subject: Subject, id: string): NetworkBackend {
    return this.#take('netdev', this.#draft.networks, subject, id)
  }

  character(subject: Subject, id: string): CharacterTarget {
    return this.#take('chardev', this.#draft.characters, subject, id)
  }

  /** Where an entropy device reads. Several may share it. */
  entropy({ option, what = option }: Subject, id: string): string {
    const object = this.#find('object', this.#draft.objects, { option, what }, id)
    if (object.kind === 'rng') return object.source
    const message = `${what}: '${id}' is memory and no source of random bytes`
    throw new OptionError(message, { option, remedy: `Make one with '-object rng-random,id=…'.` })
  }

  /** A device of which a machine has one. */
  set<K extends 'rng' | 'vsock' | 'balloon' | 'debugConsole' | 'debugExit' | 'pvpanic' | 'vmGenerationId'>(
    { option, what = option }: Subject,
    key: K,
    device: NonNullable<BoardDraft[K]>,
  ): void {
    if (this.devices[key] !== undefined) {
      throw new OptionError(`${what} was given before, and a machine has one`, { option, remedy: 'Give it once.' })
    }
    ;(this.devices as Pick<BoardDraft, K>)[key] = device
  }

  /** What was made and is used by nothing, for warnings. */
  unused(): string[] {
    const { drives, networks, characters } = this.#draft
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
    const message = `${what}: there is no ${kind} '${id}'.${didYouMean(id, things.keys())}`
    throw new OptionError(message, { option, remedy: `Make it with ${makers[kind]}.` })
  }

  #take<T>(kind: Kind, things: ReadonlyMap<string, T>, subject: Subject, id: string): T {
    const { option, what = option } = subject
    const thing = this.#find(kind, things, subject, id)
    if (this.#used.has(`${kind} ${id}`)) {
      const message = `${what}: ${kind} '${id}' is in use`
      throw new OptionError(message, { option, remedy: `Make another one with ${makers[kind]}.` })
    }
    this.#used.add(`${kind} ${id}`)
    return thing
  }
}
