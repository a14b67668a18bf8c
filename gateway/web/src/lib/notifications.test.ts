import { describe, expect, it } from 'vitest';
import { kindsOf, notificationKinds, withKind } from './notifications';

describe('kinds of notifications', () => {
  const all = { email: 'it@maple.example', kinds: [] };

  it('are all if none is named', () => {
    expect(kindsOf(all)).toHaveLength(notificationKinds.length);
  });

  it('are named once one is left out, and not any more once all are in', () => {
    const fewer = withKind(all, 'RECOVERY', false);
    expect(fewer.kinds).toHaveLength(notificationKinds.length - 1);
    expect(fewer.kinds).not.toContain('RECOVERY');
    expect(withKind(fewer, 'RECOVERY', true)).toEqual(all);
  });
});
