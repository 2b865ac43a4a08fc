import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import type { Forward, NetworkBackend } from '../../machine/config/virtio/networks.js'
import {
  id,
  isHelp,
  onOff,
  only,
  optionPairs,
  parametersHelp,
  readParameters,
  required,
  text,
  type Given,
  type Subject,
} from '../parameters/parameters.js'
import { optionSentences } from '../parameters/option-sentences.js'
import type { RunDraft } from '../draft/run-draft.js'
import type { RunOption } from '../draft/run-option.js'
import { addUnique } from '../parameters/unique.js'

const flag = 'passt determines it'

const backends = {
  tap: {
    id,
    ifname: text('NAME'),
    script: only('no', 'no program is run to set an interface up'),
    downscript: only('no', 'no program is run to take an interface down'),
    vhost: only('off', 'frames pass through this process'),
    vnet_hdr: only('on', 'headers for offloads are always used'),
    queues: only('1', 'a card has one pair of queues'),
  },
  user: {
    id,
    hostfwd: text('tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT'),
    ipv4: only('on', flag),
    ipv6: only('on', flag),
    restrict: only('off', flag),
  },
  stream: {
    id,
    server: only('off', 'the back end connects to a socket and does not listen'),
    'addr.type': only('unix', 'the socket is a Unix socket'),
    'addr.path': text('PATH'),
    'addr.abstract': onOff,
  },
}

/** The options of the back ends of networks. */
export const networkOptions: readonly RunOption[] = [
  {
    name: '-netdev',
    words: [...Object.keys(backends), 'help'],
    argument: 'tap,id=ID[,ifname=NAME]|user,id=ID[,hostfwd=…]|stream,id=ID,addr.type=unix,addr.path=PATH',
    repeated: 'adds',
    about: optionSentences['NetworkOptions.backend'],
    differs:
      'tap: ifname= is an interface that exists, and is not created; without ifname= the kernel names a new one, tap0 and so on. script=no and downscript=no are the defaults, no fd=. user: needs passt to be installed; no smb=, tftp=, guestfwd= or addresses of the network. stream: a client of a Unix socket. No other back end.',
    read: readNetdev,
  },
]

function readNetdev(draft: RunDraft, argument: string): string | void {
  const option = '-netdev'
  const pairs = optionPairs(option, argument, 'type')
  const type = pairs.findLast(({ key }) => key === 'type')?.value ?? ''
  const rest = pairs.filter(({ key }) => key !== 'type')
  if (isHelp(type)) return ['Available netdev backend types:', ...Object.keys(backends)].join('\n')
  if (rest.some(({ key, bare }) => bare && isHelp(key)) && Object.hasOwn(backends, type)) {
    return parametersHelp(type, backends[type as keyof typeof backends])
  }
  const subject = { option, what: `-netdev ${type}` }
  const add = (name: string | undefined, backend: NetworkBackend) =>
    addUnique(option, draft.networks, required(subject, 'id', name, `-netdev ${type},id=net0,…`), backend)
  if (type === 'tap') {
    const given = readParameters(subject, rest, backends.tap)
    // Without a name, the kernel chooses the next free one, as for QEMU.
    add(given.id, { tap: given.ifname ?? { create: 'tap%d' } })
  } else if (type === 'user') {
    // Each hostfwd= adds a port and does not replace the previous one.
    const forwards = rest.filter(({ key }) => key === 'hostfwd' || key.startsWith('hostfwd.'))
    const given = readParameters(
      subject,
      rest.filter(pair => !forwards.includes(pair)),
      backends.user,
    )
    add(given.id, { user: { forwards: forwards.map(({ value }) => readForward(subject, value)) } })
  } else if (type === 'stream') {
    const given = readParameters(subject, rest, backends.stream)
    add(given.id, { stream: streamPath(subject, given) })
  } else {
    const types = Object.keys(backends)
    const message = `-netdev: unknown back end '${type}'.${didYouMean(type, types)}`
    throw new OptionError(message, { option, remedy: `Use ${either(types)}.` })
  }
}

function streamPath(subject: Subject, given: Given<typeof backends.stream>): string {
  const example = '-netdev stream,id=net0,addr.type=unix,addr.path=/tmp/net.socket'
  required(subject, 'addr.type', given['addr.type'], example)
  return required(subject, 'addr.path', given['addr.path'], example)
}

/** `tcp:[ADDRESS]:PORT-[ADDRESS]:PORT`. */
function readForward({ option, what = option }: Subject, rule: string): Forward {
  const parts = /^(?:(tcp|udp)?:)?([^:]*):([0-9]+)-([^:]*):([0-9]+)$/.exec(rule)
  const [, protocol = 'tcp', hostAddress = '', host = '', guestAddress = '', guest = ''] = parts ?? []
  const [hostPort, guestPort] = [Number(host), Number(guest)]
  if (parts === null || hostPort < 1 || hostPort > 0xffff || guestPort < 1 || guestPort > 0xffff) {
    const remedy = "For example 'hostfwd=tcp:127.0.0.1:8080-:80'."
    throw new OptionError(`${what}: hostfwd= expects ${backends.user.hostfwd.takes}, and not '${rule}'`, {
      option,
      remedy,
    })
  }
  if (guestAddress !== '') {
    const message = `${what}: hostfwd= gives the guest's address '${guestAddress}': expected none`
    throw new OptionError(message, { option, remedy: `Leave it out: 'hostfwd=${rule.replace(guestAddress, '')}'.` })
  }
  return { protocol: protocol as 'tcp' | 'udp', ...(hostAddress && { hostAddress }), hostPort, guestPort }
}
