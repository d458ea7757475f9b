import type { MountDriver } from '../suites/mount.ts'

export const libfuse: MountDriver = {
  name: 'libfuse',
  args: ['--driver', 'libfuse'],
  capabilities: { nonUtf8Names: false },
}
