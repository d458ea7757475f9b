import { lifeCycleSuite } from '../suites/mount-life-cycle.ts'
import { kernel } from './drivers.ts'

lifeCycleSuite(kernel)
