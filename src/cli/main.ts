#!/usr/bin/env node
import { SERVER_WORD } from './server-word.ts'

// A terminal or a pipe that messages go to may close while a mount goes on: nobody reads them then, and that is all.
process.stderr.on('error', () => {})

// A terminal that is gone, or a pipe that nobody reads any more, is no reason to end a mount.
process.stderr.on('error', () => {})

// A mount's server starts often, and somebody waits for it: it does without the command line.
if (process.argv[2] === SERVER_WORD) await import('./fuse-server.ts')
else await import('./program.ts')
