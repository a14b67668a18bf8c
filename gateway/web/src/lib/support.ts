/** Whom to ask; the page that the hub serves says it, so that it can be configured there. */
export const supportAddress =
  document.querySelector<HTMLMetaElement>('meta[name="support-address"]')?.content ??
  'support@securly.com';
