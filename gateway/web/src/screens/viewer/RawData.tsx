import { Button } from '@mantine/core';
import { useClipboard } from '@mantine/hooks';
import { IconCheck, IconCopy } from '@tabler/icons-react';

/** A record as the hub delivers it, to the last field. */
export function RawData({ record }: { record: unknown }) {
  const clipboard = useClipboard({ timeout: 2000 });
  const text = JSON.stringify(record, null, 2);
  return (
    <div className="raw">
      <div className="raw-head">
        <span>Raw data (JSON)</span>
        <Button
          variant="default"
          size="compact-xs"
          leftSection={
            clipboard.copied ? (
              <IconCheck size={14} aria-hidden />
            ) : (
              <IconCopy size={14} aria-hidden />
            )
          }
          onClick={() => {
            clipboard.copy(text);
          }}
        >
          <span role="status">
            {clipboard.error ? 'Copying is blocked' : clipboard.copied ? 'Copied' : 'Copy'}
          </span>
        </Button>
      </div>
      {/* Long lines scroll, which a keyboard can do only in an element that takes the focus. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre tabIndex={0} role="region" aria-label="Raw data">
        {text}
      </pre>
    </div>
  );
}
