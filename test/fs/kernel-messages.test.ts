import { messageSuite } from '../suites/mount-messages.ts'
import { kernel } from './drivers.ts'

messageSuite(kernel)
