import { mountSuite } from '../suites/mount.ts'
import { libfuse } from './drivers.ts'

mountSuite(libfuse)
