import { spawn, type ChildProcess } from 'node:child_process'
import { emulated, root } from './paths.js'

/** The result of a process that has ended. */
export interface Finished {
  /** The exit status; `null` when a signal ended it. */
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
  /** True if the time limit ended it. */
  readonly timedOut: boolean
}

export interface Running {
  readonly child: ChildProcess
  readonly finished: Promise<Finished>
}

/** Seconds. On the second host a process takes many times longer. */
const LIMIT = emulated ? 600 : 100

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>
  /** The working directory. Default the root of this package. */
  readonly cwd?: string
  /** Seconds; a test's last resort against a hang. Default {@linkcode LIMIT}. */
  readonly limit?: number
  /** The standard input of the process. Default empty. */
  readonly input?: string
}

/** Starts a command and collects what it writes. */
export const start = (command: string, args: readonly string[], options: SpawnOptions = {}): Running => {
  const child = spawn(command, args, {
    cwd: options.cwd ?? root,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  let timedOut = false
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  // A process that ends without reading its input is not an error of the test.
  child.stdin.on('error', () => {})
  child.stdin.end(options.input ?? '')
  const timer = setTimeout(
    () => {
      timedOut = true
      child.kill('SIGKILL')
    },
    (options.limit ?? LIMIT) * 1000,
  )
  const finished = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', status => {
      clearTimeout(timer)
      resolve({ status, stdout, stderr, timedOut })
    })
  })
  return { child, finished }
}

/** Starts a command as {@linkcode start} does, and waits for its end. */
export const run = (command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Finished> =>
  start(command, args, options).finished
