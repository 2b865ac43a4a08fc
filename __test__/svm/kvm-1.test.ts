import { kvmTests } from '../helpers/second-host.js'

kvmTests(1, 3)
