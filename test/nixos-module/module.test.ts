import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { onCleanup } from '../helpers/cleanup.ts'
import { cleanSettings, cli, cliProgram, output, run, stopProcess } from '../helpers/run.ts'
import { reapersOf, serversOf } from '../helpers/servers.ts'
import { isMounted, tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { evaluate, tryEvaluate } from './evaluate.ts'

interface Unit {
  wantedBy: string[]
  after: string[]
  unitConfig: { RequiresMountsFor: string[] }
  postStop: string
  serviceConfig: Record<string, string | number>
}

interface Machine {
  assertions: { assertion: boolean; message: string }[]
  boot: { kernelModules: string[] }
  environment: { systemPackages: string[] }
  systemd: { services: { [name: string]: Unit } }
  users: { users: Record<string, Record<string, unknown>>; groups: Record<string, unknown> }
}

function machine(definitions: string): Promise<Machine> {
  return evaluate(`machine { services.nix-ipfs-mount = { enable = true; ${definitions} }; }`)
}

async function unit(definitions = ''): Promise<Unit> {
  return (await machine(definitions)).systemd.services['nix-ipfs-mount']!
}

/** The words of ExecStart: the stand-in has the configuration file's text where its path would be. */
function command({ serviceConfig }: Unit): { words: string[]; config: Record<string, unknown> } {
  const [, words, json] = /^(.*) (\{.*\})$/.exec(String(serviceConfig.ExecStart))!
  return { words: words!.split(' '), config: JSON.parse(json!) }
}

describe('the unit', () => {
  test('is there only where it is enabled', async () => {
    assert.equal(await evaluate('(machine { }).systemd'), null)
    assert.equal(await evaluate('(machine { }).users'), null)
    const { boot, environment, systemd, assertions } = await machine('')
    assert.deepEqual(Object.keys(systemd.services), ['nix-ipfs-mount'])
    assert.deepEqual(boot.kernelModules, ['fuse'])
    assert.deepEqual(environment.systemPackages, ['/nix-ipfs-mount'])
    assert.deepEqual(
      assertions.filter(({ assertion }) => !assertion),
      [],
    )
  })

  test('mounts at boot, and no boot waits for it or fails with it', async () => {
    const { serviceConfig, postStop, ...rest } = await unit()
    assert.deepEqual(rest, {
      description: 'Nix store paths from content-addressed blocks',
      wantedBy: ['multi-user.target'],
      after: ['ipfs.service', 'network.target'],
      path: ['/fuse3', '/util-linux'],
      unitConfig: { RequiresMountsFor: ['/var/lib/nix-ipfs-mount', '/nix'] },
    })
    assert.equal(serviceConfig.Type, 'exec')
    assert.equal(serviceConfig.Restart, 'on-failure')
    assert.equal(serviceConfig.ExecReload, '/coreutils/bin/kill -HUP $MAINPID')
    assert.equal(serviceConfig.RestartPreventExitStatus, 2)
    for (const limit of ['TimeoutStartSec', 'TimeoutStopSec']) assert.ok(Number(serviceConfig[limit]) > 0, limit)
    assert.ok(postStop.includes('umount'))
  })

  test('has a system user, who shall own the state, so systemd does not make it for root', async () => {
    const { users, systemd } = await machine('')
    assert.deepEqual(Object.keys(users.users), ['nix-ipfs-mount'])
    const { isSystemUser, group, home } = users.users['nix-ipfs-mount']!
    const unitOptions = systemd.services['nix-ipfs-mount']!.serviceConfig
    assert.deepEqual({ isSystemUser, group, home }, { isSystemUser: true, group, home: '/var/lib/nix-ipfs-mount' })
    assert.deepEqual(users.groups, { [String(group)]: {} })
    for (const option of ['User', 'StateDirectory']) assert.ok(!(option in unitOptions), option)
  })

  test('runs the given package with the given options', async () => {
    const standard = await unit()
    assert.deepEqual(command(standard), {
      words: ['/nix-ipfs-mount/bin/nix-ipfs-mount', '/nix/store-ipfs', '--config'],
      config: { state: '/var/lib/nix-ipfs-mount' },
    })
    const other = await unit(`
      package = { outPath = "/other"; meta.mainProgram = "program"; };
      mountPoint = "/srv/nix.d/store";
      blocks = "kubo:http://127.0.0.1:5001";
      settings = lib.mkMerge [ { deadline = 5; } (lib.mkIf true { verbose = true; state = "/srv/state"; }) ];
    `)
    assert.deepEqual(command(other), {
      words: ['/other/bin/program', '/srv/nix.d/store', '--config'],
      config: { blocks: 'kubo:http://127.0.0.1:5001', deadline: 5, state: '/srv/state', verbose: true },
    })
    assert.deepEqual(other.unitConfig.RequiresMountsFor, ['/srv/state', '/srv/nix.d'])
  })
})

describe('what is refused', () => {
  const failing: [definitions: string, says: RegExp][] = [
    ['mountpoint = "/x";', /nix-ipfs-mount\.mountpoint. does not exist/],
    ['mountPoint = 1;', /nix-ipfs-mount\.mountPoint. is not of type/],
    ['blocks = true;', /nix-ipfs-mount\.blocks. is not of type/],
    ['blocks = "local"; settings.blocks = "kubo:http://[::1]:5001";', /settings\.blocks. has conflicting/],
    ['settings.state = null;', /settings\.state. is not of type/],
  ]
  for (const [definitions, says] of failing) {
    test(definitions, async () => {
      const { code, stderr } = await tryEvaluate(
        `(machine { services.nix-ipfs-mount = { enable = true; ${definitions} }; })`,
      )
      assert.equal(code, 1)
      assert.match(stderr, says)
    })
  }

  const asserted: [definition: string, says: RegExp][] = [
    ...['', 'store', './store', '/store/', '//store', '/a//b', '/a/../b', '/a/.', '/..', '/with space', '/a%n'].map(
      path => [`mountPoint = "${path}";`, /mountPoint: .*absolute path/] as [string, RegExp],
    ),
    ...['/', '/nix', '/nix/store', '/nix/store/x'].map(
      path => [`mountPoint = "${path}";`, /mountPoint: /] as [string, RegExp],
    ),
    ['settings.state = "state";', /settings\.state: "state" must be an absolute path/],
  ]
  for (const [definition, says] of asserted) {
    test(definition, async () => {
      const { assertions } = await machine(definition)
      const messages = assertions.filter(({ assertion }) => !assertion).map(({ message }) => message)
      assert.match(messages[0] ?? '', says)
    })
  }

  for (const path of ['/nix/store-ipfs', '/nix/storage', '/a/..b/.c', '/mnt/x@y=z,w:1+2_3-4']) {
    test(`but not ${path}`, async () => {
      const { assertions } = await machine(`mountPoint = "${path}"; settings.state = "${path}";`)
      assert.deepEqual(
        assertions.filter(({ assertion }) => !assertion),
        [],
      )
    })
  }
})

describe('on this machine', () => {
  test("the program takes the unit's configuration file", async t => {
    const folder = tempFolder(t, 'state')
    const { config } = command(
      await unit(`blocks = "local"; settings = { state = "${folder}/state"; json = true; deadline = 0.5; };`),
    )
    const file = join(folder, 'config.json')
    writeFileSync(file, JSON.stringify(config))
    const { code, stdout, stderr } = await cli(['ls', '--config', file])
    assert.deepEqual({ code, stdout: stdout.toString(), stderr }, { code: 0, stdout: '[]\n', stderr: '' })
  })

  test('its command mounts a store that has nothing yet, and one of which all was killed is unmounted', async t => {
    const mountpoint = tempFolder(t, 'mount')
    const { postStop, child } = await startUnit(t, mountpoint)
    assert.deepEqual((await run('ls', ['-A', mountpoint])).stdout.toString(), '')
    // Otherwise it unmounts when the supervisor is gone.
    for (const pid of reapersOf(mountpoint)) process.kill(pid, 'SIGKILL')
    await stopProcess(child, 'SIGKILL')
    await until('no server is left', () => serversOf('fuse-server', child.pid).length === 0)
    assert.ok(isMounted(mountpoint))
    // Of which the second is the answer to who had asked before.
    assert.match((await run('stat', ['--file-system', mountpoint])).stderr, /not connected|connection abort/)
    await runPostStop(postStop)
    assert.ok(!isMounted(mountpoint))
    await runPostStop(postStop)
  })

  test('what stops it leaves other mounts alone', async t => {
    const mountpoint = tempFolder(t, 'mount')
    const { postStop, child } = await startUnit(t, mountpoint)
    await runPostStop(postStop)
    assert.ok(isMounted(mountpoint), 'a mount that answers')
    await stopProcess(child)
    assert.ok(!isMounted(mountpoint))
    assert.equal(child.exitCode, 0)
    // The shell ends, and with it the only descriptor that could serve this.
    const dead = 'exec 3<>/dev/fuse; mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none "$0"'
    await output('sh', ['-c', dead, mountpoint])
    assert.match((await run('stat', ['--file-system', mountpoint])).stderr, /not connected/)
    await runPostStop(postStop)
    assert.ok(isMounted(mountpoint), 'a dead mount of another kind')
  })
})

/** Runs ExecStart with this build's program, as systemd would. */
async function startUnit(t: TestContext, mountpoint: string) {
  const folder = tempFolder(t, 'state')
  const made = await unit(`mountPoint = "${mountpoint}"; settings.state = "${folder}/state";`)
  const { words, config } = command(made)
  const file = join(folder, 'config.json')
  writeFileSync(file, JSON.stringify(config))
  const child = spawn(process.execPath, [cliProgram, ...words.slice(1), file], {
    env: { ...process.env, ...cleanSettings() },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onCleanup(t, () => stopProcess(child))
  let said = ''
  child.stdout.on('data', chunk => {
    said += chunk
  })
  await until(`${mountpoint} is mounted`, () => {
    assert.equal(child.exitCode, null)
    return said === `mounted ${mountpoint}\n`
  })
  return { child, postStop: made.postStop }
}

/** As NixOS does: `set -e` in a shell. */
async function runPostStop(script: string): Promise<void> {
  assert.equal((await output('sh', ['-ec', script])).toString(), '')
}
