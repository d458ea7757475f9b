import { readFileSync, realpathSync } from 'node:fs'

/** One line of /proc/self/mountinfo, proc_pid_mountinfo(5). */
export interface Mount {
  id: number
  /** `major:minor`, as stat shows it in st_dev: what the kernel tells filesystems apart by. */
  device: string
  mountpoint: string
  /** `fuse.nix-ipfs-mount` for ours. */
  type: string
  source: string
  /** Options of the filesystem, such as an overlay's `lowerdir=...`. */
  superOptions: string[]
}

export const FUSE_SUBTYPE = 'nix-ipfs-mount'
const OUR_TYPE = `fuse.${FUSE_SUBTYPE}`

export function isOurs(mount: Mount): boolean {
  return mount.type === OUR_TYPE
}

/** The mounts this process sees, in the order they were made. */
export function readMounts(): Mount[] {
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'latin1'))
}

export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = []
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ')
    const [id, , device, , mountpoint] = (left ?? '').split(' ')
    const [type, source, options] = (right ?? '').split(' ')
    if (mountpoint === undefined || type === undefined) continue
    mounts.push({
      id: Number(id),
      device: device!,
      mountpoint: unescapeField(mountpoint),
      type,
      source: unescapeField(source ?? ''),
      superOptions: (options ?? '').split(',').map(unescapeField),
    })
  }
  return mounts
}

/** Space, tab, newline and backslash are written as three octal digits; the rest are bytes of UTF-8. */
function unescapeField(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** The topmost mount at exactly this absolute path. */
export function mountAt(path: string, mounts: readonly Mount[] = readMounts()): Mount | undefined {
  return mounts.findLast(({ mountpoint }) => mountpoint === path)
}

/** The mount that an absolute path without symlinks lies on. */
export function mountHolding(path: string, mounts: readonly Mount[] = readMounts()): Mount | undefined {
  let best: Mount | undefined
  for (const mount of mounts) {
    const inside = mount.mountpoint === '/' || path === mount.mountpoint || path.startsWith(`${mount.mountpoint}/`)
    if (inside && (best === undefined || mount.mountpoint.length >= best.mountpoint.length)) best = mount
  }
  return best
}

/** An overlay's lower layers; in `lowerdir=` they are separated by colons, and a backslash quotes what follows it. */
function lowerFolders(option: string): string[] {
  if (option.startsWith('lowerdir+=')) return [option.slice('lowerdir+='.length)]
  if (!option.startsWith('lowerdir=')) return []
  const folders = option.slice('lowerdir='.length).match(/(?:[^\\:]|\\[\s\S])+/g) ?? []
  return folders.map(folder => folder.replace(/\\([\s\S])/g, '$1'))
}

/** The kernel shows a layer as it was given to mount, which may go through links. */
function resolved(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/**
 * Mount points of overlays that have the mount at this path, or a folder in it, among their lower layers; also where
 * it is bound to other places, and these are.
 */
export function overlaysAbove(mountpoint: string, mounts: readonly Mount[] = readMounts()): string[] {
  const device = mountAt(mountpoint, mounts)?.device
  const places = [mountpoint, ...mounts.filter(mount => mount.device === device).map(mount => mount.mountpoint)]
  const isInside = (folder: string) => places.some(place => folder === place || folder.startsWith(`${place}/`))
  // What is seen to be inside need not be asked where it leads, which a mount that has ended would not answer.
  const shows = (lower: string) => !lower.startsWith('/') || isInside(lower) || isInside(resolved(lower))
  return mounts
    .filter(({ type, superOptions }) => type === 'overlay' && superOptions.flatMap(lowerFolders).some(shows))
    .map(overlay => overlay.mountpoint)
}

/** The mount of ours whose files a path shows: the one it lies on, or one that is a lower layer of its overlay. */
export function ourMountBelow(path: string, mounts: readonly Mount[] = readMounts()): Mount | undefined {
  const holding = mountHolding(path, mounts)
  if (holding === undefined) return undefined
  if (isOurs(holding)) return holding
  if (holding.type !== 'overlay') return undefined
  for (const lower of holding.superOptions.flatMap(lowerFolders)) {
    // Relative to where mount was called, which nobody can know: it may be any of ours.
    const below = lower.startsWith('/') ? mountHolding(resolved(lower), mounts) : mounts.find(isOurs)
    if (below !== undefined && isOurs(below)) return below
  }
  return undefined
}
