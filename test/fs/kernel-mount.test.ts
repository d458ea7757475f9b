import { mountSuite } from '../suites/mount.ts'
import { kernel } from './drivers.ts'

mountSuite(kernel)
