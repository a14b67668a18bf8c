import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { freePort } from '../port';

export interface SftpServer {
  port: number;
  user: string;
  /** A private key that may sign in. */
  key: string;
  fingerprint: string;
  /** Where files are to be put. */
  folder: string;
  put: (files: Record<string, string>) => void;
  stop: () => Promise<void>;
}

/** OpenSSH's client, with a key of its own. */
export function sftpClient(address: string, user: string) {
  const dir = mkdtempSync(path.join(tmpdir(), 'sftp-client-'));
  const inside = (name: string) => path.join(dir, name);
  const [host = '', port = ''] = address.split(':');
  execFileSync('ssh-keygen', [
    '-q',
    '-t',
    'ed25519',
    '-N',
    '',
    '-C',
    'made up',
    '-f',
    inside('key'),
  ]);
  return {
    publicKey: readFileSync(inside('key.pub'), 'utf8'),
    put: (files: Record<string, string>) => {
      const commands = Object.entries(files).map(([name, text]) => {
        writeFileSync(inside(name), text);
        return `put ${inside(name)} ${name}`;
      });
      const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'BatchMode=yes'];
      execFileSync(
        'sftp',
        [
          ...options.flatMap((option) => ['-o', option]),
          ...['-i', inside('key'), '-P', port, '-b', '-', `${user}@${host}`],
        ],
        { input: commands.join('\n'), stdio: ['pipe', 'ignore', 'pipe'] },
      );
    },
    forget: () => {
      rmSync(dir, { recursive: true });
    },
  };
}

/** A real OpenSSH server with keys of its own, as the user of the test, that serves files only. */
export async function sshd(): Promise<SftpServer> {
  const dir = mkdtempSync(path.join(tmpdir(), 'sftp-'));
  const inside = (name: string) => path.join(dir, name);
  const keygen = (...args: string[]) => execFileSync('ssh-keygen', args, { encoding: 'utf8' });
  for (const name of ['host', 'client']) {
    keygen('-q', '-t', 'ed25519', '-N', '', '-C', 'made up', '-f', inside(name));
  }
  writeFileSync(inside('authorized_keys'), readFileSync(inside('client.pub')));
  mkdirSync(inside('export'));
  const { username: user, uid } = userInfo();
  if (uid === 0) mkdirSync('/run/sshd', { recursive: true });
  const port = await freePort();
  writeFileSync(
    inside('config'),
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${inside('host')}`,
      `AuthorizedKeysFile ${inside('authorized_keys')}`,
      'PidFile none',
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'Subsystem sftp internal-sftp -R',
      'ForceCommand internal-sftp -R',
      '',
    ].join('\n'),
  );
  const server = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', inside('config')], { stdio: 'ignore' });
  await listening(server, port);
  return {
    port,
    user,
    key: readFileSync(inside('client'), 'utf8'),
    fingerprint: keygen('-l', '-f', inside('host.pub')).split(' ')[1] ?? '',
    folder: inside('export'),
    put: (files) => {
      const hoursAgo = Date.now() / 1000 - 3 * 3600;
      for (const [name, text] of Object.entries(files)) {
        writeFileSync(path.join(inside('export'), name), text);
        utimesSync(path.join(inside('export'), name), hoursAgo, hoursAgo);
      }
    },
    stop: async () => {
      const gone = once(server, 'exit');
      server.kill('SIGKILL');
      await gone;
      rmSync(dir, { recursive: true });
    },
  };
}

async function listening(server: ChildProcess, port: number): Promise<void> {
  for (;;) {
    if (server.exitCode !== null) throw new Error(`sshd ended with ${server.exitCode}.`);
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch {
      // Not yet.
    } finally {
      socket.destroy();
    }
  }
}
