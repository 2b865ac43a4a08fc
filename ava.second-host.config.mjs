// The KVM tests on the second host: one process for all of them. `__test__/helpers/second-host.ts` writes the file.
export default {
  files: ['target/kvm-accel/second-host/*.ts'],
  extensions: { ts: 'module' },
  nodeArguments: ['--import=tsx'],
  workerThreads: false,
  serial: true,
  timeout: '10m',
}
