// The layers of ts/, as a configuration of oxlint. `npm test` runs
// `oxlint -c layers.config.mjs ts`.
//
// - Imports point down: a folder imports only folders that come after it in its list.
// - The files in `top` are above all folders beside them.
// - Only ts/native imports the addon. Other folders import its types.
// - No file is part of an import cycle.

/**
 * For each folder with ranked subfolders: the subfolders from the top down, and the files above
 * them.
 */
export const layers = {
  ts: {
    top: ['index'],
    folders: ['cli', 'machine', 'kvm', 'host', 'trace', 'properties', 'schema', 'native', 'errors'],
  },
  'ts/cli': {
    top: ['kvm-accel', 'kvm-accel-system', 'load-bundle', 'run', 'commands'],
    folders: ['demo', 'doctor', 'help', 'argv', 'options', 'devices', 'draft', 'parameters', 'process', 'reports'],
  },
  'ts/machine': {
    top: ['run', 'machine', 'guests'],
    folders: ['devices', 'debug', 'lifecycle', 'events', 'config'],
  },
  'ts/machine/devices': { top: ['devices'], folders: ['balloon', 'javascript', 'ports', 'vsock'] },
  'ts/kvm': { top: ['index'], folders: ['objects', 'structures', 'generated'] },
  'ts/errors': { top: ['index', 'from-native'], folders: ['host', 'operation', 'options'] },
}

const addon = {
  regex: 'binding\\.cjs$',
  allowTypeImports: true,
  message: 'Only ts/native imports the addon. Use native() of ts/native/native.ts, or `import type`.',
}

const restrict = (files, patterns) => ({ files, rules: { 'no-restricted-imports': ['error', { patterns }] } })

/**
 * Returns an override for each folder of `parent` and for the folders below it. `inherited` are the
 * patterns of `parent`.
 */
const overrides = (parent, inherited) => {
  const { top, folders } = layers[parent]
  return folders.flatMap((folder, rank) => {
    const path = `${parent}/${folder}`
    const above = [`(${top.join('|')})\\.js$`, ...folders.slice(0, rank).map(name => `${name}/`)]
    const patterns = [
      ...inherited.filter(pattern => pattern !== addon || path !== 'ts/native'),
      { regex: `^(\\.\\./)+(${above.join('|')})`, message: `Imports point down, and this one leaves ${path} upwards.` },
    ]
    // oxlint applies the last override that matches a file.
    return [restrict([`${path}/**`], patterns), ...(layers[path] ? overrides(path, patterns) : [])]
  })
}

export default {
  plugins: ['import'],
  categories: { correctness: 'off' },
  rules: { 'import/no-cycle': ['error', { ignoreTypes: false }] },
  overrides: [restrict(['ts/*.ts'], [addon]), ...overrides('ts', [addon])],
}
