// The order of layers in Rust: between crates from their dependencies, and inside a crate from the
// paths that its modules use.

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

/** Returns the modules that a root file lists under "Modules, lowest first". */
export const moduleOrder = (root: string): string[] => {
  const list = root.split(/^\/\/! Modules, lowest first.*$/m)[1] ?? ''
  const lines = list.split('\n').slice(1)
  const end = lines.findIndex(line => line !== '//!' && !line.startsWith('//! - ') && !line.startsWith('//!   '))
  return lines
    .slice(0, end)
    .flatMap(line => [...(/^\/\/! - ([^:]*):/.exec(line)?.[1] ?? '').matchAll(/`(\w+)`/g)].map(([, name = '']) => name))
}

/** Removes comments, and the tests at the end of a file. */
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

/** Returns the names after a path such as `crate::`, which may be a group. */
const namesBehind = (code: string, end: number) =>
  code[end] === '{' ? groupItems(code.slice(end + 1)) : [code.slice(end, end + 200)]

const firstName = (path: string) => /^\w+/.exec(path)?.[0] ?? ''

/** Returns the names at the ends of a use tree: for `a::{b, c as d}`, `b` and `d`. */
const leaves = (tree: string): string[] => {
  const brace = tree.indexOf('{')
  if (brace >= 0) return groupItems(tree.slice(brace + 1)).flatMap(leaves)
  return [/(\w+)\s*$/.exec(tree)?.[1] ?? tree]
}

/** Returns the names that the root file re-exports, each with its module. */
const reExports = (root: string) => {
  const from = new Map<string, string>()
  for (const match of codeOf(root).matchAll(/^pub(?:\(crate\))? use (\w+)::/gm)) {
    const [prefix, module = ''] = match
    const rest = codeOf(root).slice(match.index + prefix.length)
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

/** Returns the names at the root of the crate that a file uses. */
const rootNames = (file: string, text: string) => {
  const code = codeOf(text)
  const paths = [...code.matchAll(/\bcrate::|(?:\bsuper::)+/g)].filter(
    ([path]) => path === 'crate::' || path.split('super').length - 1 === modulePath(file).length,
  )
  return paths.flatMap(match =>
    namesBehind(code, match.index + match[0].length).map(name => ({ name: firstName(name), path: match[0] })),
  )
}

/**
 * Returns the violations among the paths inside a crate, from the text of its files. The keys are
 * paths below `src`.
 */
export const moduleViolations = (files: ReadonlyMap<string, string>): string[] => {
  const root = files.get('lib.rs') ?? ''
  const order = moduleOrder(root)
  const declared = [...codeOf(root).matchAll(/^(?:pub(?:\(crate\))? )?mod (\w+);/gm)].map(([, name = '']) => name)
  const unlisted = declared.filter(name => !order.includes(name)).map(name => `lib.rs does not list ${name}`)
  const from = reExports(root)
  const wrong = [...files].flatMap(([file, text]) => {
    const [module = ''] = modulePath(file)
    if (file === 'lib.rs' || /(^|\/)(\w+_)?tests(\.rs|\/)/.test(file) || !order.includes(module)) return []
    return rootNames(file, text).flatMap(({ name, path }) => {
      const target = order.includes(name) ? name : from.get(name)
      if (target === undefined) return path === 'crate::' ? [`${file} names crate::${name}, which lib.rs lacks`] : []
      // A re-export of another crate lies below every module.
      const above = order.includes(target) && target !== module && order.indexOf(target) > order.indexOf(module)
      return above ? [`${file} imports ${target}, a module above ${module}`] : []
    })
  })
  return [...unlisted, ...wrong]
}
