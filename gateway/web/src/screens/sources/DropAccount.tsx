import { Button } from '@mantine/core';
import type { Schema } from '../../api/client';
import { useMay } from '../../api/queries';
import { useResetDropPassword } from '../../api/sources';
import { ErrorState } from '../../components/States';
import { useDistrict } from '../../lib/district';
import { formatBytes, formatDateTime } from '../../lib/format';

interface DropAccountProps {
  source: Schema['Source'];
  drop: Schema['Drop'];
}

/** How the district signs in to drop files. */
export function DropAccount({ source, drop }: DropAccountProps) {
  const { id: district } = useDistrict();
  const reset = useResetDropPassword(district, source.sourceId ?? '');
  const mayChange = useMay('sources.write');
  if (!drop.hostKey) {
    return (
      <div className="notice notice-warning">
        <div>
          <p className="notice-title">Files cannot be dropped yet</p>
          <p>This hub has no SFTP server. Its operator has to switch it on.</p>
        </div>
      </div>
    );
  }
  return (
    <section className="card panel drop-account" aria-labelledby="drop">
      <h2 id="drop">Where your files go</h2>
      <p>
        Have the export put its files into the folder <code>incoming</code> of this SFTP server,
        which is where a session begins. A sync starts by itself when they are complete.
      </p>
      <dl className="facts">
        <dt>Server</dt>
        <dd>
          <code>{window.location.hostname}</code>
        </dd>
        <dt>Port</dt>
        <dd>
          <code>{drop.port}</code>
        </dd>
        <dt>User name</dt>
        <dd>
          <code>{drop.user}</code>
        </dd>
        <dt>Fingerprint of the server</dt>
        <dd>
          <code>{drop.hostKey}</code>
        </dd>
        <dt>Password</dt>
        <dd>{drop.passwordSet ? 'Set; it is not shown again' : 'None yet'}</dd>
      </dl>
      <Incoming files={drop.incoming ?? []} />
      {reset.isError && <ErrorState error={reset.error} />}
      {reset.isSuccess && (
        <div className="notice notice-warning" role="status">
          <div>
            <p className="notice-title">The new password, shown this once</p>
            <p>
              <code className="fingerprint">{reset.data.password}</code>
            </p>
            <p>Enter it in your export now. Sessions with the password before have ended.</p>
          </div>
        </div>
      )}
      {mayChange && (
        <Button
          variant="default"
          loading={reset.isPending}
          onClick={() => {
            reset.mutate();
          }}
        >
          {drop.passwordSet ? 'Make a new password' : 'Make a password'}
        </Button>
      )}
    </section>
  );
}

/** What has arrived and waits until it is complete. */
function Incoming({ files }: { files: Schema['IncomingFile'][] }) {
  const { timeZone } = useDistrict();
  return (
    <>
      <h3>Files that wait</h3>
      {files.length === 0 ? (
        <p className="soft">None.</p>
      ) : (
        <ul className="steps">
          {files.map((file) => (
            <li key={file.name}>
              <code>{file.name}</code>, {formatBytes(file.size ?? 0)},{' '}
              {formatDateTime(file.modifyTime, timeZone)}
              {file.name?.endsWith('.filepart') && ': not complete'}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
