// The manual page kvm-accel(1) in roff, from the tables of options.

import { exitStatuses, optionForm, runExamples } from '../argv/help.js'
import { runOptions } from '../argv/run-options.js'
import { deviceModels } from '../devices/index.js'
import { accelParameters } from '../options/accelerator.js'
import type { Parameters } from '../parameters/parameters.js'
import { escapeKeysHelp } from '../process/escape-keys.js'
import { packageVersion } from '../version.js'
import { commandArguments, commandOptions, commandTexts } from './commands.js'

/** Escapes a text. A line that begins with a dot or an apostrophe would be a request. */
const text = (plain: string): string =>
  plain
    .replaceAll('`', '')
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '...')
    .replaceAll(/[^\n -~]/g, character => `\\[u${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}]`)
    .replaceAll(/^[.']/gm, '\\&$&')

/** A paragraph with a tag in bold. */
const tagged = (tag: string, ...paragraphs: readonly string[]): string =>
  [`.TP`, `\\fB${text(tag)}\\fR`, paragraphs.map(text).join('\n.br\n')].join('\n')

const section = (title: string, ...parts: readonly string[]): string => [`.SH ${title}`, ...parts].join('\n')

const parameters = (entries: Parameters): readonly string[] =>
  Object.entries(entries).map(([name, { takes, about = '', defaultText }]) =>
    tagged(`${name}=${takes}`, defaultText === undefined ? about : `${about} Default: ${defaultText}.`),
  )

/** Returns the manual page. */
export function manPage(): string {
  const sections = [
    section('NAME', text("kvm-accel - QEMU's KVM accelerator, notify VM exits included")),
    section(
      'SYNOPSIS',
      ...Object.entries(commandArguments).flatMap(([name, words]) => [
        `.B kvm\\-accel ${name}`,
        ...(words === '' ? [] : [text(words)]),
        '.br',
      ]),
      '.B kvm\\-accel\\-system\\-x86_64',
      '[\\fIOPTION\\fR...]',
    ),
    section(
      'DESCRIPTION',
      text('Boots guests on /dev/kvm. kvm-accel-system-x86_64 is the command run under a name of its own.'),
    ),
    section(
      'COMMANDS',
      ...Object.entries(commandTexts).map(([name, about]) =>
        tagged(name, about, ...(commandOptions[name] ?? []).map(option => `${option.name}: ${option.about}`)),
      ),
    ),
    section(
      'OPTIONS OF RUN',
      text("Options have QEMU's spelling, with one dash or two. The second text compares with QEMU 7.2."),
      ...runOptions.map(option =>
        tagged(optionForm(option), option.about, ...(option.differs ? [option.differs] : [])),
      ),
    ),
    section('PROPERTIES OF -accel kvm', ...parameters(accelParameters)),
    section('DEVICES', ...deviceModels.map(({ name, about }) => tagged(name, about))),
    section('KEYS', text('On a terminal, all other keys go to the guest.'), '.nf', text(escapeKeysHelp), '.fi'),
    section('EXIT STATUS', ...exitStatuses.map(([status, when]) => tagged(status, when))),
    section(
      'EXAMPLES',
      ...runExamples.flatMap(({ purpose, command }) => ['.PP', text(purpose), '.PP', '.nf', text(command), '.fi']),
    ),
    section('SEE ALSO', '.BR qemu (1)'),
  ]
  return `.TH KVM\\-ACCEL 1 "" "kvm\\-accel ${text(packageVersion())}"\n${sections.join('\n')}\n`
}
