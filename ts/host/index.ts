export { capabilities, reportCapabilities, type Capability, type CapabilityReport } from './capabilities.js'
export { diagnoseKvm } from './diagnose.js'
export { explainUnavailable } from './explain.js'
export { collectHostFacts, type DeviceFacts, type HostFacts } from './facts.js'
