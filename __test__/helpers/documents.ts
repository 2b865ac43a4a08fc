// The documents of this repository and their code blocks.

import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './paths.js'

/** The documents, as paths from the root. */
export const pages: readonly string[] = [
  'README.md',
  'ARCHITECTURE.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.md'))
    .map(name => `docs/${name}`)
    .toSorted(),
]

/** Reads a page. */
export const readPage = (page: string): string => readFileSync(join(root, page), 'utf8')

/** Languages of code blocks. `text` (output or a picture) and `diff` are not run. */
export const languages = ['ts', 'js', 'sh', 'rust', 'text', 'diff'] as const
export type Language = (typeof languages)[number]

/**
 * The mark after the language: the requirement of a block beyond KVM. The tests run `linux` blocks
 * and no other marked blocks.
 */
export const marks = {
  linux: 'a Linux kernel `vmlinux` and its initrd',
  clone: 'a clone of this repository',
  network: 'a network, for example passt or an npm registry',
  kernel: 'the kernel of a distribution and its modules',
  root: 'rights of root on the host',
  qemu: 'QEMU and its tools',
} as const
export type Mark = keyof typeof marks

/** A fenced code block. */
export interface CodeBlock {
  readonly page: string
  readonly line: number
  readonly language: string
  /** The words after the language. */
  readonly words: readonly string[]
  /**
   * The file that the block is an excerpt of: a word that is a path. Such a block is compared with
   * the file and not run.
   */
  readonly source: string | undefined
  readonly code: string
  /**
   * The name of the file that the block shows, if its first line is a comment that contains only a
   * name.
   */
  readonly file: string | undefined
}

/** Returns the fenced code blocks of a page. */
export const codeBlocks = (page: string): readonly CodeBlock[] => {
  const text = readPage(page)
  return [...text.matchAll(/^```(\S*) *(.*)\n([^]*?)^```$/gm)].map(
    ({ index, 1: language = '', 2: words = '', 3: code = '' }) => ({
      page,
      line: text.slice(0, index).split('\n').length,
      language,
      words: words.split(' ').filter(word => word !== ''),
      source: words.split(' ').find(word => word.includes('/')),
      code,
      file: /^(?:\/\/|#) ([\w-]+\.\w+)\n/.exec(code)?.[1],
    }),
  )
}
