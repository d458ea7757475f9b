/** A narinfo with each of Nix's fields once, and what tests make of it. */

/** Without newlines. */
export const lines = [
  'StorePath: /nix/store/0000000000000000000000000000000a-example-1.0',
  'URL: nar/example.nar.xz',
  'Compression: xz',
  'FileHash: sha256:1s9dwxlkq4kbc5wbs11xn7g7fmn6v442n0w4yd820gmsbn7xdnxy',
  'FileSize: 400',
  'NarHash: sha256:0f1f4ii8d5f16mnb8r2ni517syxw3kcvnd4ssk46lsvhy65nzxwv',
  'NarSize: 1728',
  'References: 384lk96mvl7yxn8zyvl1kwia6zims64v-sample-1.0 44nwbvvb68zcan1542knqkypfs1lhcam-dependency',
  'Deriver: vvr8s71cl1s4bjikjwd1qb5q5848qfr2-example-1.0.drv',
  'Sig: key:w0dS0WPt1QKypR6XZEOkhSXffBDR6htM0LTXbeNhaCmOAVojTzhaJKqMY2HS0b9DvxIPOpdfS3dWnT5vg+E/Dw==',
  'CA: fixed:r:sha256:1s9dwxlkq4kbc5wbs11xn7g7fmn6v442n0w4yd820gmsbn7xdnxy',
]
export const whole = text(lines)

export function text(lines: readonly string[]): string {
  return lines.map(line => `${line}\n`).join('')
}

/** The example without the field's line, or with others in its place. */
export function withLines(field: string, ...others: string[]): string {
  return text(lines.flatMap(line => (line.startsWith(`${field}: `) ? others : [line])))
}

export const deriver = 'vvr8s71cl1s4bjikjwd1qb5q5848qfr2-example-1.0.drv'
export const reference = '44nwbvvb68zcan1542knqkypfs1lhcam-dependency'
