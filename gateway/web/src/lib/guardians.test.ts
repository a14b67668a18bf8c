import { describe, expect, it } from 'vitest';
import { fieldOf, withField } from './guardians';

const mail = { name: 'Mail', field: 'email' };
const other = { name: 'Mail 2', field: '' };

describe('columns of a guardian file', () => {
  it('are read as their names usually mean, unless something else is said', () => {
    expect(fieldOf(mail, {})).toBe('email');
    expect(fieldOf(mail, { email: 'Mail 2' })).toBe('');
    expect(fieldOf(other, { email: 'Mail 2' })).toBe('email');
    expect(fieldOf(mail, { email: '' })).toBe('');
  });

  it('take a field from another column, and give it back', () => {
    const said = withField(other, 'email', {});
    expect(said).toEqual({ email: 'Mail 2' });
    expect(withField(other, '', said)).toEqual({ email: '' });
    expect(withField(mail, 'phone', {})).toEqual({ email: '', phone: 'Mail' });
  });
});
