import type { CommandModule } from 'yargs'
import { StateError, UsageError } from '../../errors.ts'
import { isKeyName, publicKeyText, type SecretKey } from '../../nix/signature.ts'
import { generateStateKey, keyFile, readStateKey } from '../../store/keys.ts'
import { openStateFolder } from '../../store/state.ts'
import { configOf } from '../arguments.ts'
import type { Config, GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'
import { becomeStateUser } from '../state-user.ts'

interface GenerateArguments extends GlobalArguments {
  name: string
}

export const keyCommand: CommandModule<GlobalArguments, GlobalArguments> = {
  command: 'key',
  describe: 'Make or show the ed25519 key that this state signs with',
  builder: yargs =>
    yargs
      .command(generateCommand)
      .command(publicCommand)
      .demandCommand(1, 'key needs generate or public')
      .example('$0 key generate cache.example.org-1', 'make it and print its public key')
      .example('$0 key public', "what goes into Nix's trusted-public-keys"),
  handler: () => {},
}

const generateCommand: CommandModule<GlobalArguments, GenerateArguments> = {
  command: 'generate <name>',
  describe: 'Make the key, once, and print its public key',
  builder: yargs =>
    yargs
      .positional('name', {
        type: 'string',
        demandOption: true,
        describe: 'Name that signatures bear: by custom a host name and a number',
      })
      .example('$0 key generate cache.example.org-1', 'make it and print its public key'),
  handler: async argv => {
    const config = configOf(argv)
    if (!isKeyName(argv.name)) {
      throw new UsageError(
        `${JSON.stringify(argv.name)} cannot be the name of a key: it must not have a colon, white space, or more than 255 characters`,
      )
    }
    becomeStateUser(config)
    const { folder } = openStateFolder(config.state, config.blocks)
    await printPublic(generateStateKey(folder, argv.name), config)
  },
}

const publicCommand: CommandModule<GlobalArguments, GlobalArguments> = {
  command: 'public',
  describe: 'Print the public key',
  builder: yargs => yargs.example('$0 key public', "what goes into Nix's trusted-public-keys"),
  handler: async argv => {
    const config = configOf(argv)
    becomeStateUser(config)
    const { folder } = openStateFolder(config.state, config.blocks)
    const key = readStateKey(folder)
    if (key === undefined) {
      throw new StateError(`${keyFile(folder)}: there is no key yet; make one with nix-ipfs-mount key generate NAME`)
    }
    await printPublic(key, config)
  },
}

function printPublic({ publicKey }: SecretKey, config: Config): Promise<void> {
  const text = publicKeyText(publicKey)
  return config.json ? printJson({ name: publicKey.name, public: text }) : printLine(text)
}
