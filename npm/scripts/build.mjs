// `npm run build`: packages, addon, TypeScript; whatever has changed.
import { setUp } from './steps.mjs'

setUp()
