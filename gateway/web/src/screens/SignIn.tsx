import { useEffect } from 'react';
import { useSearchParams } from 'react-router';
import { Footer } from '../components/Shell';

/** What "/" shows to somebody without a session. */
export function SignInScreen() {
  const [parameters] = useSearchParams();
  const expired = parameters.get('signin') === 'expired';

  useEffect(() => {
    document.title = 'Sign in – Securly Sync';
  }, []);

  return (
    <>
      <main className="sign-in" id="main">
        <div className="card sign-in-card">
          <img src="/favicon.svg" alt="" width={44} height={44} />
          <h1>Sign in to Securly Sync</h1>
          {expired && (
            <div className="notice notice-warning" role="alert">
              <p>
                <strong>This sign-in link no longer works.</strong> Each link works once and for a
                short time only.
              </p>
            </div>
          )}
          <p>
            Open the sign-in link that was printed where Securly Sync was started. It looks like
            this:
          </p>
          <p>
            <code className="sample">{window.location.origin}/auth/link?code=…</code>
          </p>
          <p>
            The link signs this browser in. It works once: if it has been used or has run out,
            restart Securly Sync to get a new one, or ask the person who runs it.
          </p>
        </div>
      </main>
      <Footer />
    </>
  );
}
