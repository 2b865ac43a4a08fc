// Queries TypeScript's language server over its standard input and output, for the texts that an
// editor shows.

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './paths.js'

interface Message {
  readonly id?: number
  readonly method?: string
  readonly result?: { readonly contents?: { readonly value?: string } } | null
}

/**
 * Returns the texts of a hover over the first occurrence of each word. The source stands for a
 * user's file: it imports the built package.
 */
export async function hover(source: string, words: readonly string[]): Promise<string[]> {
  const server = spawn(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--lsp', '--stdio'], {
    cwd: root,
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const send = (message: object) => {
    const text = JSON.stringify({ jsonrpc: '2.0', ...message })
    server.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
  }
  const answers = new Map<number, Message>()
  const received = new Promise<void>((resolve, reject) => {
    let bytes = Buffer.alloc(0)
    server.once('error', reject)
    server.once('exit', () => reject(new Error('the language server ended')))
    server.stdout.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      for (;;) {
        const head = bytes.indexOf('\r\n\r\n')
        const length = Number(/Content-Length: (\d+)/i.exec(bytes.toString('latin1', 0, Math.max(head, 0)))?.[1])
        if (head < 0 || bytes.length < head + 4 + length) return
        const message = JSON.parse(bytes.toString('utf8', head + 4, head + 4 + length)) as Message
        bytes = bytes.subarray(head + 4 + length)
        // The server requests its settings and registers capabilities.
        if (message.method !== undefined && message.id !== undefined) send({ id: message.id, result: null })
        else if (message.id === 0) open()
        else if (message.id !== undefined) answers.set(message.id, message)
        if (answers.size === words.length) resolve()
      }
    })
  })
  const uri = pathToFileURL(join(root, 'examples/hover.ts')).href
  const open = () => {
    send({ method: 'initialized', params: {} })
    const textDocument = { uri, languageId: 'typescript', version: 1, text: source }
    send({ method: 'textDocument/didOpen', params: { textDocument } })
    words.forEach((word, index) => {
      const before = source.slice(0, source.indexOf(word)).split('\n')
      const position = { line: before.length - 1, character: before.at(-1)?.length ?? 0 }
      send({ id: index + 1, method: 'textDocument/hover', params: { textDocument: { uri }, position } })
    })
  }
  send({
    id: 0,
    method: 'initialize',
    params: { processId: process.pid, rootUri: pathToFileURL(root).href, capabilities: {} },
  })
  try {
    await received
    return words.map((_, index) => answers.get(index + 1)?.result?.contents?.value ?? '')
  } finally {
    server.removeAllListeners('exit')
    server.kill('SIGKILL')
  }
}
