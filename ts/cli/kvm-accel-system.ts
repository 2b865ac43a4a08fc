#!/usr/bin/env node

import { loadBundle } from './load-bundle.js'

// `kvm-accel run` as a program of its own, for test harnesses that call QEMU's command line.
void loadBundle('run').run(process.argv.slice(2)).then(process.exit)
