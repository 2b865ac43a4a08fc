/** The outer end of a port: a pseudo-terminal or a socket that this process serves. */
export interface PortLine {
  /** The terminal's device, or the address of the socket. */
  readonly path: string
  /** Closes it after the bytes of the port have been written to it. */
  readonly close: () => Promise<void>
  /** Closes it at once. */
  readonly destroy: () => void
}
