// Character devices: QEMU's typed form (-chardev) and the short one of -serial and -debugcon.

import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import { socketMembers, type SerialTarget, type SocketTarget } from '../../machine/config/serial.js'
import { parseOptionText, type OptionPair } from '../../properties/option-text.js'
import {
  id,
  isHelp,
  number,
  onOff,
  only,
  parametersHelp,
  readParameters,
  required,
  text,
  type Given,
  type Parameters,
  type Subject,
} from '../parameters/parameters.js'
import { schemaOptions, schemaParameters } from '../parameters/schema-options.js'

const common = {
  id,
  mux: onOff,
}

const socketParameters = {
  ...common,
  ...schemaParameters('SocketTarget', socketMembers, '-chardev'),
  path: text('PATH'),
  host: text('HOST'),
  port: number(1, 0xffff),
  nodelay: onOff,
  reconnect: only('0', 'a connection that ends is not opened again'),
  telnet: only('off', 'bytes are passed unchanged'),
  websocket: only('off', 'bytes are passed unchanged'),
}

/** The result of `-chardev`. */
export interface Character {
  readonly id: string | undefined
  readonly target: SerialTarget
}

/** A back end. */
interface Backend {
  readonly parameters: Parameters
  readonly read: (subject: Subject, pairs: readonly OptionPair[]) => Character
}

function backend<P extends Parameters & typeof common>(
  parameters: P,
  target: (subject: Subject, given: Given<P>) => SerialTarget,
): Backend {
  return {
    parameters,
    read: (subject, pairs) => {
      const given = readParameters(subject, pairs, parameters)
      return { id: given.id as string | undefined, target: target(subject, given) }
    },
  }
}

const signal = only('off|on', 'Ctrl-C on a terminal goes to the guest, and Ctrl-A x ends the machine')
const append = only('off', 'the file is truncated')

const backends: Readonly<Record<string, Backend>> = {
  stdio: backend({ ...common, signal }, () => 'stdio'),
  file: backend({ ...common, path: text('PATH'), append }, (subject, { path }) => ({
    file: required(subject, 'path', path, '-chardev file,id=log,path=guest.log'),
  })),
  socket: backend(socketParameters, socketTarget),
  pty: backend(common, () => 'pty'),
  null: backend(common, () => 'null'),
}

/** The names of the back ends. */
export const characterBackends: readonly string[] = Object.keys(backends)

/** Reads `-chardev`. Returns the text that `help` prints. */
export function readCharacter(pairs: readonly OptionPair[]): Character | string {
  const option = '-chardev'
  const name = pairs.findLast(({ key }) => key === 'backend')?.value ?? ''
  if (isHelp(name))
    return ['Available chardev backend types:', ...characterBackends.map(name => `  ${name}`)].join('\n')
  const found = Object.hasOwn(backends, name) ? backends[name] : undefined
  if (found === undefined) {
    const message = `-chardev: unknown back end '${name}'.${didYouMean(name, characterBackends)}`
    throw new OptionError(message, { option, remedy: `Use ${either(characterBackends)}.` })
  }
  const rest = pairs.filter(({ key }) => key !== 'backend')
  if (rest.some(({ key, bare }) => bare && isHelp(key))) return parametersHelp(name, found.parameters)
  return found.read({ option, what: `-chardev ${name}` }, rest)
}

function socketTarget({ option, what = option }: Subject, given: Given<typeof socketParameters>): SocketTarget {
  const { path, host, port } = given
  const options = schemaOptions<SocketTarget>(socketMembers, given, '-chardev')
  const example = `-chardev socket,id=com1,path=/tmp/com1,server=on,wait=off`
  if ((path === undefined) === (port === undefined)) {
    const message = `${what} needs either path=, or host= and port=`
    throw new OptionError(message, { option, remedy: `For example '${example}'.` })
  }
  if (options.wait !== undefined && !options.server) {
    throw new OptionError(`${what}: wait= needs server=on`, { option, remedy: `For example '${example}'.` })
  }
  const socket = path ?? { ...(host !== undefined && { host }), port: port ?? 0 }
  // QEMU's server waits unless wait=off is given.
  return { socket, ...(options.server && { wait: true }), ...options }
}

/** The short forms, for messages. */
const shortForms = ['stdio', 'null', 'pty', 'file:PATH', 'unix:PATH[,server=on]', 'tcp:HOST:PORT[,server=on]']

/** Reads the short form, `file:PATH` for example. */
export function readShortCharacter(option: string, word: string): SerialTarget {
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
        : [...(host === '' ? [] : [{ key: 'host', value: host }]), { key: 'port', value: port }]
    return socketTarget(subject, readParameters(subject, [...address, ...pairs], socketParameters))
  }
  const remedy = `Use ${either(shortForms)}.`
  throw new OptionError(`${option}: unknown target '${word}'.${didYouMean(word, ['stdio', 'null', 'none', 'pty'])}`, {
    option,
    remedy,
  })
}
