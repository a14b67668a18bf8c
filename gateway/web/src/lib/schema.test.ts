import { describe, expect, it } from 'vitest';
import { settingsFrom, settingsOf, sourceIdFor, valuesFrom } from './schema';

const schema = {
  type: 'object',
  required: ['user', 'host'],
  properties: {
    host: { type: 'string', title: 'Server' },
    port: { type: 'integer', default: 22 },
    subfolders: { type: 'boolean', default: false },
    files: { type: 'string', enum: ['auto', 'zip'], default: 'auto' },
    user: { type: 'string' },
  },
};

describe('settings of a connector', () => {
  const settings = settingsOf(schema);

  it('shows required ones first, in the order of the schema', () => {
    expect(settings.slice(0, 2).map(({ name }) => name)).toEqual(['user', 'host']);
    expect(settings.find(({ name }) => name === 'port')?.fallback).toBe('22');
    expect(settingsOf(undefined)).toEqual([]);
  });

  it('go to the hub with their types, without what is empty', () => {
    const values = {
      host: ' sftp.example ',
      port: '2222',
      subfolders: 'true',
      files: '',
      user: '',
    };
    const sent = { host: 'sftp.example', port: 2222, subfolders: true };
    expect(settingsFrom(values, settings)).toEqual(sent);
    expect(settingsFrom(valuesFrom(sent), settings)).toEqual(sent);
    expect(settingsFrom({ port: 'many' }, settings)).toEqual({ port: 'many' });
  });
});

it('names a source after what people call it', () => {
  expect(sourceIdFor('  PowerSchool – SIS ', [])).toBe('powerschool-sis');
  expect(sourceIdFor('SIS', ['sis', 'sis-2'])).toBe('sis-3');
  expect(sourceIdFor('学校', [])).toBe('source');
});
