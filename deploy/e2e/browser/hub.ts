import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { freePort } from './port';

/**
 * The hub under test is the caller's (BASE_URL, SIGN_IN_LINK and SFTP_ADDR), or a demo that is started here
 * and stopped at the end.
 */
export default async function hub(): Promise<(() => Promise<void>) | undefined> {
  if (process.env.BASE_URL && process.env.SIGN_IN_LINK) return undefined;

  const root = path.resolve(import.meta.dirname, '../../..');
  const program = process.env.SECURLY_SYNC ?? path.join(root, 'bin/securly-sync');
  const [http, grpc, sftp] = [await freePort(), await freePort(), await freePort()];
  const demo = spawn(
    program,
    [
      'demo',
      ...['--http-addr', `127.0.0.1:${http}`],
      ...['--grpc-addr', `127.0.0.1:${grpc}`],
      ...['--sftp-addr', `127.0.0.1:${sftp}`],
    ],
    { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const stop = async () => {
    if (demo.exitCode !== null || demo.signalCode !== null) return;
    const gone = once(demo, 'exit');
    demo.kill('SIGTERM');
    await gone;
  };
  try {
    process.env.SIGN_IN_LINK = await signInLink(demo);
  } catch (error) {
    await stop();
    throw error;
  }
  process.env.BASE_URL = `http://127.0.0.1:${http}`;
  process.env.SFTP_ADDR = `127.0.0.1:${sftp}`;
  return stop;
}

/** The link that the demo prints once its district is ready. */
function signInLink(demo: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    const read = (chunk: Buffer) => {
      output += chunk.toString();
      const link = /https?:\/\/\S+\/auth\/link\?code=[^\s"']+/.exec(output);
      if (link) resolve(link[0]);
    };
    demo.stdout?.on('data', read);
    demo.stderr?.on('data', read);
    demo.on('error', reject);
    demo.on('exit', (code) => {
      reject(new Error(`The demo ended with ${code} before it printed a link:\n${output}`));
    });
    AbortSignal.timeout(120_000).addEventListener('abort', () => {
      reject(new Error(`The demo printed no sign-in link in two minutes:\n${output}`));
    });
  });
}
