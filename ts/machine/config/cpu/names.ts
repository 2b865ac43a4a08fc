// The names of CPU models and features, and the errors for unknown ones.

import { didYouMean } from '../../../errors/suggest.js'
import { cpuFeatures } from './features.js'
import { cpuModels, isCpuModel } from './models.js'

/** Creates the error of the option whose text is invalid. */
export type Refuse = (problem: string, remedy: string) => Error

export function checkModel(model: string, refuse: Refuse): void {
  if (isCpuModel(model)) return
  const remedy = "'kvm-accel run -cpu help' lists the models. The default is 'host'."
  throw refuse(`does not have the model '${model}'.${didYouMean(model, cpuModels)}`, remedy)
}

/**
 * Returns the name with dashes. `others` are further names that a misspelled feature may have
 * meant.
 */
export function checkFeature(spelled: string, others: readonly string[], refuse: Refuse): string {
  const name = spelled.replaceAll('_', '-')
  if (cpuFeatures.includes(name)) return name
  const remedy = "docs/reference/cpu.md lists the features; '-cpu help' prints their names."
  throw refuse(`does not have the feature '${spelled}'.${didYouMean(name, [...cpuFeatures, ...others])}`, remedy)
}
