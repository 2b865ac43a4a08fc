// Chooses the ports of `hostPort: 0`.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { MachineConfigError } from '../../errors/options/machine-config-error.js'
import type { NormalMachineOptions } from '../config/normal-options.js'
import type { Forward, NormalNetwork } from '../config/virtio/networks.js'

/** A port that is in use until it is closed. */
interface Reserved {
  readonly port: number
  close(): void
}

/**
 * Replaces each `hostPort: 0` by a port that is free now. Returns the same options if there is none.
 * passt takes the port a moment later, and reports it if another process was faster.
 *
 * @throws `MachineConfigError` when the address is not one of this host, or no port is free.
 */
export async function chooseHostPorts(options: NormalMachineOptions): Promise<NormalMachineOptions> {
  const reserved: Reserved[] = []
  const chosen = async (forward: Forward): Promise<Forward> => {
    if (forward.hostPort !== 0) return forward
    const free = await reserve(forward)
    reserved.push(free)
    return { ...forward, hostPort: free.port }
  }
  const network = async (network: NormalNetwork): Promise<NormalNetwork> => {
    const forwards = forwardsOf(network)
    if (!forwards.some(({ hostPort }) => hostPort === 0)) return network
    return { ...network, backend: { user: { forwards: await Promise.all(forwards.map(chosen)) } } }
  }
  if (!options.networks.some(network => forwardsOf(network).some(({ hostPort }) => hostPort === 0))) return options
  try {
    return Object.freeze({ ...options, networks: await Promise.all(options.networks.map(network)) })
  } finally {
    for (const free of reserved) free.close()
  }
}

function forwardsOf({ backend }: NormalNetwork): readonly Forward[] {
  return 'user' in backend && backend.user !== true ? (backend.user.forwards ?? []) : []
}

async function reserve({ protocol, hostAddress }: Forward): Promise<Reserved> {
  try {
    return await (protocol === 'udp' ? reserveUdp(hostAddress) : reserveTcp(hostAddress))
  } catch (cause) {
    const where = hostAddress ?? 'any address'
    const message = `cannot choose a free port for hostPort 0 at ${where}: ${(cause as Error).message}`
    const remedy = 'Give an address of this host, or the number of a port.'
    throw new MachineConfigError(message, { option: 'networks', remedy, cause })
  }
}

async function reserveTcp(host: string | undefined): Promise<Reserved> {
  const server = createServer().listen({ port: 0, ...(host !== undefined && { host }) })
  await once(server, 'listening')
  return { port: (server.address() as { port: number }).port, close: () => void server.close() }
}

async function reserveUdp(address: string | undefined): Promise<Reserved> {
  const socket = createSocket(address?.includes(':') ? 'udp6' : 'udp4')
  try {
    socket.bind({ port: 0, ...(address !== undefined && { address }) })
    await once(socket, 'listening')
  } catch (error) {
    socket.close()
    throw error
  }
  return { port: socket.address().port, close: () => void socket.close() }
}
