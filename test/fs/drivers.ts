import type { MountDriver } from '../suites/mount.ts'

export const libfuse: MountDriver = {
  name: 'libfuse',
  args: ['--driver', 'libfuse'],
  capabilities: { nonUtf8Names: false, handsOver: false, interrupts: false, xattr: false },
}

export const kernel: MountDriver = {
  name: 'kernel',
  args: ['--driver', 'kernel'],
  capabilities: { nonUtf8Names: true, handsOver: true, interrupts: true, xattr: true },
}
