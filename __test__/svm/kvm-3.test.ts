import { kvmTests } from '../helpers/second-host.js'

kvmTests(3, 3)
