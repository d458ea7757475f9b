/**
 * A process that adds paths to a state: `node index-writer.js <folder> <label> <paths>`. It says `ready` when the
 * index is open and the base name of each path once that is visible.
 */
import { writeSync } from 'node:fs'
import { addRandomPath, openTestState } from './index-state.ts'

const [folder, label, count] = process.argv.slice(2)
const state = openTestState(folder!)
writeSync(1, 'ready\n')
for (let i = 0; i < Number(count); i++) writeSync(1, `${await addRandomPath(state, `${label} ${i}`)}\n`)
await state.close()
