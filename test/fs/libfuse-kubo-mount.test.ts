import { mountSuite } from '../suites/mount.ts'
import { kuboBlocks } from '../suites/mount-kubo.ts'
import { libfuse } from './drivers.ts'

mountSuite(libfuse, kuboBlocks())
