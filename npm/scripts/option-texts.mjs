// Reads the TSDoc comments of the public interfaces of options from ts/index.ts, through the
// compiler's checker. The comments are written once, at the entries of ts/machine/config and
// ts/properties.

import { join } from 'node:path'
import { API } from 'typescript/unstable/sync'
import { root } from './steps.mjs'

/** The compiler's flag of a symbol that refers to another symbol, such as a re-export. */
const ALIAS = 1 << 21

/** Returns the comment and the text of `@default`, by interface and member. */
export const optionTexts = () => {
  const api = new API({ cwd: root })
  try {
    const project = join(root, 'tsconfig.json')
    const [{ program, checker }] = api.updateSnapshot({ openProjects: [project] }).getProjects()
    const index = checker.getSymbolAtLocation(program.getSourceFile(join(root, 'ts/index.ts')))
    const text = member => ({
      about: checker.getDocumentationCommentOfSymbol(member).replaceAll(/\s*\n\s*/g, ' '),
      default: checker.getJsDocTagsOfSymbol(member).find(tag => tag.name === 'default')?.text,
    })
    const interfaces = checker.getExportsOfModule(index).map(symbol => {
      const { name } = symbol
      const original = (symbol.flags & ALIAS) === 0 ? symbol : checker.getAliasedSymbol(symbol)
      const members = checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(original))
      return [name, Object.fromEntries(members.map(member => [member.name, text(member)]))]
    })
    return Object.fromEntries(interfaces)
  } finally {
    api.close()
  }
}
