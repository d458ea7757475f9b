import { unprivilegedSuite } from '../suites/mount-unprivileged.ts'
import { libfuse } from './drivers.ts'

unprivilegedSuite(libfuse)
