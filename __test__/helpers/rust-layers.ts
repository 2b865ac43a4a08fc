// Checks the order of layers in Rust: between crates by their dependencies, inside a folder by the paths that its modules name.

/** The crates, lowest first. A crate depends only on crates before it. */
export const CRATES = [
  'guests',
  'interposer',
  'kvm',
  'memory',
  'kvm-objects',
  'accel',
  'machine',
  'vmm',
  'binding',
] as const

/** The crates that may depend on the kernel's interface. */
export const KERNEL_CRATES: Readonly<Record<string, readonly string[]>> = {
  'kvm-ioctls': ['kvm'],
  'kvm-bindings': ['interposer', 'kvm', 'kvm-objects'],
}

const section = (manifest: string, name: string) =>
  manifest.split(/^\[/m).find(part => part.startsWith(`${name}]`)) ?? ''

/** Returns the crates that a manifest depends on, without its dev-dependencies. */
const dependencies = (manifest: string) =>
  ['dependencies', 'build-dependencies'].flatMap(name =>
    [...section(manifest, name).matchAll(/^([\w-]+)[ .]/gm)].map(([, crate = '']) => crate),
  )

/**
 * Returns the violations among the dependencies of the crates, from the text of their manifests.
 */
export const crateViolations = (manifests: ReadonlyMap<string, string>): string[] => {
  const order: readonly string[] = CRATES
  const byPackage = new Map(
    [...manifests].map(([crate, manifest]) => [/^name = "(.*)"/m.exec(manifest)?.[1], crate] as const),
  )
  return [...manifests].flatMap(([crate, manifest]) => {
    if (!order.includes(crate)) return [`crates/${crate} has no place in the order`]
    return dependencies(manifest).flatMap(name => {
      const other = byPackage.get(name)
      if (other !== undefined && order.indexOf(other) >= order.indexOf(crate)) return [`${crate} depends on ${other}`]
      return (KERNEL_CRATES[name]?.includes(crate) ?? true) ? [] : [`${crate} depends on ${name}`]
    })
  })
}

/** The root files of folders state how their modules depend on each other under one of these headings. */
const HEADING = /^\/\/! Modules, (lowest first|independent of each other)\b.*$/m

/** The modules that a root file lists under a {@link HEADING}, in order. */
export const moduleOrder = (root: string): string[] => {
  const { index = root.length, 0: heading = '' } = HEADING.exec(root) ?? {}
  const lines = root
    .slice(index + heading.length)
    .split('\n')
    .slice(1)
  const end = lines.findIndex(line => line !== '//!' && !line.startsWith('//! - ') && !line.startsWith('//!   '))
  return lines
    .slice(0, end)
    .flatMap(line => [...(/^\/\/! - ([^:]*):/.exec(line)?.[1] ?? '').matchAll(/`(\w+)`/g)].map(([, name = '']) => name))
}

/** Removes comments and the tests at the end of a file. */
const codeOf = (text: string) => text.replace(/^[ ]*\/\/.*$/gm, '').split(/^#\[cfg\(test\)\]\nmod tests\b/m)[0] ?? ''

/** Returns the items of `{a, b::{c, d}}` at the first level. `text` begins after the brace. */
const groupItems = (text: string): string[] => {
  const items = ['']
  let depth = 0
  for (const character of text) {
    if (character === '}' && depth === 0) break
    if (character === '{') depth += 1
    if (character === '}') depth -= 1
    if (character === ',' && depth === 0) items.push('')
    else items[items.length - 1] += character
  }
  return items.map(item => item.trim()).filter(item => item !== '')
}

/** The paths at the start of `code`: `a::{b, c::d}` has the paths `a::b` and `a::c::d`. */
const pathsOf = (code: string): string[][] => {
  if (code.startsWith('{')) return groupItems(code.slice(1)).flatMap(pathsOf)
  const name = /^(?:\w+|\*)/.exec(code)?.[0]
  if (name === undefined) return []
  const ends = code.startsWith('::', name.length) ? pathsOf(code.slice(name.length + 2)) : []
  return ends.length === 0 ? [[name]] : ends.map(end => [name, ...end])
}

/** The names that a use tree brings into scope: of `a::{b, c as d}`, `b` and `d`. */
const leaves = (tree: string): string[] => {
  const brace = tree.indexOf('{')
  if (brace >= 0) return groupItems(tree.slice(brace + 1)).flatMap(leaves)
  return [/(\w+)\s*$/.exec(tree)?.[1] ?? tree]
}

/** The names that a root file imports, each with the first part of its path. */
const importsOf = (root: string) => {
  const code = codeOf(root)
  const from = new Map<string, string>()
  for (const match of code.matchAll(/^(?:pub(?:\(\w+\))? )?use (\w+)::/gm)) {
    const [prefix, module = ''] = match
    const rest = code.slice(match.index + prefix.length)
    for (const name of leaves(rest.slice(0, rest.indexOf(';')))) from.set(name, module)
  }
  return from
}

/** Returns the module path of a file of `src`: `a` for `a/mod.rs` and for `a.rs`. */
const modulePath = (file: string) =>
  file
    .replace(/\.rs$/, '')
    .replace(/\/mod$/, '')
    .split('/')

/** The paths of the crate that a file names, from the crate's root on, and whether the file writes them as `crate::…`. */
const namedPaths = (file: string, text: string) => {
  const code = codeOf(text)
  return [...code.matchAll(/\bcrate::|(?:\bsuper::)+/g)].flatMap(match => {
    const up = match[0].split('super').length - 1
    const base = up === 0 ? [] : modulePath(file).slice(0, -up)
    return pathsOf(code.slice(match.index + match[0].length)).map(path => ({
      path: [...base, ...path],
      absolute: up === 0,
    }))
  })
}

const isTest = (file: string) => /(^|\/)(\w+_)?tests(\.rs|\/)/.test(file)

/**
 * Lists what is wrong with the imports between the modules of a folder.
 *
 * @param files - The text of each file of the crate, by its path from `src` on.
 * @param folder - The folder from `src` on. Its root file is `lib.rs` or `mod.rs`.
 */
export const moduleViolations = (files: ReadonlyMap<string, string>, folder = ''): string[] => {
  const rootFile = folder === '' ? 'lib.rs' : `${folder}/mod.rs`
  const root = files.get(rootFile) ?? ''
  const parents = folder === '' ? [] : folder.split('/')
  const order = moduleOrder(root)
  const independent = HEADING.exec(root)?.[1] === 'independent of each other'
  const declared = [...codeOf(root).matchAll(/^(?:pub(?:\(\w+\))? )?mod (\w+);/gm)].map(([, name = '']) => name)
  const unlisted = declared.filter(name => !order.includes(name)).map(name => `${rootFile} does not list ${name}`)
  const imports = importsOf(root)
  const within = (path: readonly string[]) =>
    path.length > parents.length && parents.every((name, index) => path[index] === name)
  const wrong = [...files].flatMap(([file, text]) => {
    const own = modulePath(file)
    const module = own[parents.length] ?? ''
    if (isTest(file) || !within(own) || !order.includes(module)) return []
    return namedPaths(file, text)
      .filter(({ path }) => within(path))
      .flatMap(({ path, absolute }) => {
        const name = path[parents.length] ?? ''
        const target = order.includes(name) ? name : imports.get(name)
        if (target === undefined) {
          // lib.rs has no items of its own. The items of a mod.rs are below its modules.
          return absolute && folder === '' ? [`${file} names crate::${name}, which lib.rs lacks`] : []
        }
        // What a root file imports from elsewhere is below its modules.
        if (target === module || !order.includes(target)) return []
        if (independent) return [`${file} imports ${target}, a module beside ${module}`]
        const above = order.indexOf(target) > order.indexOf(module)
        return above ? [`${file} imports ${target}, a module above ${module}`] : []
      })
  })
  return [...unlisted, ...new Set(wrong)]
}
