// Character devices: QEMU's typed form (-chardev) and the short one of -serial and -debugcon.

import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import { parseOptionText, type OptionPair } from '../../properties/option-text.js'
import type { CharacterTarget, SocketTarget } from '../draft/board-draft.js'
import { id, number, onOff, only, readParameters, required, text, type Subject } from '../parameters/parameters.js'

const common = {
  id,
  mux: onOff,
}

const socketParameters = {
  ...common,
  path: text('PATH'),
  host: text('HOST'),
  port: number(1, 0xffff),
  server: onOff,
  wait: onOff,
  nodelay: onOff,
  reconnect: only('0', 'a connection that ends is not made again'),
  telnet: only('off', 'bytes are passed as they are'),
  websocket: only('off', 'bytes are passed as they are'),
}

/** The result of `-chardev`. */
export interface Character {
  readonly id: string | undefined
  readonly target: CharacterTarget
}

const backends: Readonly<Record<string, (subject: Subject, pairs: readonly OptionPair[]) => Character>> = {
  stdio: (subject, pairs) => {
    const signal = only('off|on', 'Ctrl-C on a terminal goes to the guest, and Ctrl-A x ends the machine')
    return { id: readParameters(subject, pairs, { ...common, signal }).id, target: 'stdio' }
  },
  file: (subject, pairs) => {
    const append = only('off', 'the file is truncated')
    const given = readParameters(subject, pairs, { ...common, path: text('PATH'), append })
    return {
      id: given.id,
      target: { file: required(subject, 'path', given.path, '-chardev file,id=log,path=guest.log') },
    }
  },
  socket: (subject, pairs) => {
    const given = readParameters(subject, pairs, socketParameters)
    return { id: given.id, target: { socket: socketTarget(subject, given) } }
  },
  pty: (subject, pairs) => ({ id: readParameters(subject, pairs, common).id, target: 'pty' }),
  null: (subject, pairs) => ({ id: readParameters(subject, pairs, common).id, target: 'null' }),
}

/** The names of the back ends. */
export const characterBackends: readonly string[] = Object.keys(backends)

/** Reads `-chardev`. */
export function readCharacter(pairs: readonly OptionPair[]): Character {
  const option = '-chardev'
  const backend = pairs.findLast(({ key }) => key === 'backend')?.value ?? ''
  const read = Object.hasOwn(backends, backend) ? backends[backend] : undefined
  if (read === undefined) {
    const message = `-chardev does not have '${backend}'.${didYouMean(backend, characterBackends)}`
    throw new OptionError(message, { option, remedy: `It has ${either(characterBackends)}.` })
  }
  return read(
    { option, what: `-chardev ${backend}` },
    pairs.filter(({ key }) => key !== 'backend'),
  )
}

interface SocketGiven {
  readonly path?: string
  readonly host?: string
  readonly port?: number
  readonly server?: boolean
  readonly wait?: boolean
}

function socketTarget({ option, what = option }: Subject, given: SocketGiven): SocketTarget {
  const { path, host, port, server = false, wait } = given
  const example = `-chardev socket,id=com1,path=/tmp/com1,server=on,wait=off`
  if ((path === undefined) === (port === undefined)) {
    const message = `${what} needs a path=, or a host= and a port=`
    throw new OptionError(message, { option, remedy: `For example '${example}'.` })
  }
  if (wait !== undefined && !server) {
    throw new OptionError(`${what}: wait= is for server=on`, { option, remedy: `For example '${example}'.` })
  }
  const address = path === undefined ? { host: host ?? 'localhost', port: port ?? 0 } : { path }
  return { address, server, wait: server && (wait ?? true) }
}

/** The short forms, for messages. */
const shortForms = ['stdio', 'null', 'pty', 'file:PATH', 'unix:PATH[,server=on]', 'tcp:HOST:PORT[,server=on]']

/** Reads the short form, `file:PATH` for example. */
export function readShortCharacter(option: string, word: string): CharacterTarget {
  // In QEMU, `mon:` shares the terminal with the monitor. kvm-accel has no monitor; the keys after
  // Ctrl-A remain.
  const plain = word === 'mon:stdio' ? 'stdio' : word
  if (plain === 'stdio' || plain === 'null' || plain === 'pty') return plain
  const [, kind, rest = ''] = /^(file|unix|tcp):(.+)$/.exec(plain) ?? []
  if (kind === 'file') return { file: rest }
  if (kind !== undefined) {
    const [place = '', ...more] = rest.split(',')
    const [, host = '', port = ''] = /^(.*):([0-9]+)$/.exec(place) ?? []
    const pairs = parseOptionText(more.join(','), undefined, Object.keys(socketParameters))
    const subject = { option, what: `${option} ${kind}` }
    const address =
      kind === 'unix'
        ? [{ key: 'path', value: place }]
        : [
            { key: 'host', value: host || 'localhost' },
            { key: 'port', value: port },
          ]
    return { socket: socketTarget(subject, readParameters(subject, [...address, ...pairs], socketParameters)) }
  }
  const remedy = `Use ${either(shortForms)}.`
  throw new OptionError(`${option} does not have '${word}'.${didYouMean(word, ['stdio', 'null', 'none', 'pty'])}`, {
    option,
    remedy,
  })
}
