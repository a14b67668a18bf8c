import { type ReactNode, useEffect, useRef } from 'react';
import { useLocation, useNavigationType } from 'react-router';

interface PageProps {
  title: string;
  /** In the browser's title, where the heading alone says too little. */
  windowTitle?: string;
  intro?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

/** A screen with its heading, which takes the focus when the reader comes from another screen. */
export function Page({ title, windowTitle, intro, actions, children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  const { pathname } = useLocation();
  const navigation = useNavigationType();

  useEffect(() => {
    document.title = `${windowTitle ?? title} – Securly Sync`;
  }, [title, windowTitle]);

  useEffect(() => {
    if (navigation === 'PUSH') {
      heading.current?.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    // Only another screen moves the focus; a filter in the address does not.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [pathname]);

  return (
    <>
      <div className="page-head">
        <div>
          <h1 ref={heading} tabIndex={-1}>
            {title}
          </h1>
          {intro && <p>{intro}</p>}
        </div>
        {actions && <div className="page-actions">{actions}</div>}
      </div>
      {children}
    </>
  );
}
