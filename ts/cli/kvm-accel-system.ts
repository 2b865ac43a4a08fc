#!/usr/bin/env node

import { run } from './run.js'

// `kvm-accel run` under a name and with a command line that harnesses made for QEMU can use.
process.exit(await run(process.argv.slice(2)))
