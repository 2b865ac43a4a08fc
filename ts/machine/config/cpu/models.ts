/**
 * QEMU's x86 CPU models. Most of them also have versions (`EPYC-v3`), and variants without some
 * features (`Haswell-noTSX`).
 */
const models: readonly string[] = [
  ...['486', 'pentium', 'pentium2', 'pentium3', 'n270', 'coreduo', 'core2duo', 'athlon', 'phenom'],
  ...['qemu32', 'qemu64', 'kvm32', 'kvm64', 'base', 'max', 'host'],
  ...['Conroe', 'Penryn', 'Nehalem', 'Nehalem-IBRS', 'Westmere', 'Westmere-IBRS'],
  ...['SandyBridge', 'SandyBridge-IBRS', 'IvyBridge', 'IvyBridge-IBRS'],
  ...['Haswell', 'Haswell-IBRS', 'Haswell-noTSX', 'Haswell-noTSX-IBRS'],
  ...['Broadwell', 'Broadwell-IBRS', 'Broadwell-noTSX', 'Broadwell-noTSX-IBRS'],
  ...['Skylake-Client', 'Skylake-Client-IBRS', 'Skylake-Client-noTSX-IBRS'],
  ...['Skylake-Server', 'Skylake-Server-IBRS', 'Skylake-Server-noTSX-IBRS'],
  ...['Cascadelake-Server', 'Cascadelake-Server-noTSX', 'Cooperlake', 'Icelake-Server', 'Icelake-Server-noTSX'],
  ...['SapphireRapids', 'GraniteRapids', 'SierraForest', 'Denverton', 'Snowridge', 'KnightsMill'],
  ...['Opteron_G1', 'Opteron_G2', 'Opteron_G3', 'Opteron_G4', 'Opteron_G5', 'Dhyana'],
  ...['EPYC', 'EPYC-IBPB', 'EPYC-Rome', 'EPYC-Milan', 'EPYC-Genoa'],
]

/** The names that `-cpu` accepts, without the versions. */
export const cpuModels: readonly string[] = models

/** Returns true if QEMU has a model of this name, versions included. */
export function isCpuModel(name: string): boolean {
  return models.includes(name.replace(/-v[0-9]+$/, ''))
}
