import { mountSuite } from '../suites/mount.ts'
import { kuboBlocks } from '../suites/mount-kubo.ts'
import { kernel } from './drivers.ts'

mountSuite(kernel, kuboBlocks())
