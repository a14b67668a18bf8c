import { Button, NativeSelect, Textarea, TextInput } from '@mantine/core';
import { type FormEvent, type ReactNode, useState } from 'react';
import type { Schema } from '../../api/client';
import type { SourceInput } from '../../api/sources';
import { sentence } from '../../lib/format';
import { type Setting, settingsFrom, settingsOf, type Values } from '../../lib/schema';

interface SourceFormProps {
  connector: Schema['Connector'];
  name: string;
  values: Values;
  /** The names of the secrets that the hub has already. */
  kept?: readonly string[];
  action: string;
  busy: boolean;
  error?: ReactNode;
  onSubmit: (input: Required<Pick<SourceInput, 'displayName' | 'settings' | 'secrets'>>) => void;
}

/** A form made from what the connector says about its settings; secrets go in and never come out. */
export function SourceForm(props: SourceFormProps) {
  const { connector, kept = [] } = props;
  const settings = settingsOf(connector.settingsSchema);
  const fields = connector.secrets ?? [];
  const [name, setName] = useState(props.name);
  const [values, setValues] = useState(props.values);
  const [secrets, setSecrets] = useState<Values>({});
  const [dropped, setDropped] = useState<ReadonlySet<string>>(new Set());

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const sent = Object.fromEntries(Object.entries(secrets).filter(([, value]) => value !== ''));
    for (const secret of dropped) sent[secret] = '';
    props.onSubmit({
      displayName: name.trim(),
      settings: settingsFrom(values, settings),
      secrets: sent,
    });
  };
  const group = (some: Setting[]) =>
    some.map((setting) => (
      <SettingField
        key={setting.name}
        setting={setting}
        value={values[setting.name] ?? ''}
        onChange={(value) => {
          setValues({ ...values, [setting.name]: value });
        }}
      />
    ));
  const optional = settings.filter((setting) => !setting.required);

  return (
    <form className="card panel source-form" aria-label="Settings of the source" onSubmit={submit}>
      <div className="fields">
        <TextInput
          label="Name"
          description="What you call this source"
          required
          maxLength={200}
          value={name}
          autoComplete="off"
          onChange={(event) => {
            setName(event.currentTarget.value);
          }}
        />
        {group(settings.filter((setting) => setting.required))}
      </div>
      {fields.length > 0 && (
        <fieldset>
          <legend>How to sign in</legend>
          <p className="soft">Kept encrypted, and never shown again to anybody.</p>
          <div className="fields">
            {fields.map((field) => {
              const secret = field.name ?? '';
              return (
                <SecretInput
                  key={secret}
                  field={field}
                  kept={kept.includes(secret)}
                  dropped={dropped.has(secret)}
                  value={secrets[secret] ?? ''}
                  onChange={(value) => {
                    setSecrets({ ...secrets, [secret]: value });
                  }}
                  onDrop={(drop) => {
                    const next = new Set(dropped);
                    if (drop) next.add(secret);
                    else next.delete(secret);
                    setDropped(next);
                  }}
                />
              );
            })}
          </div>
        </fieldset>
      )}
      {optional.length > 0 && (
        <fieldset>
          <legend>More settings</legend>
          <p className="soft">What you leave empty is as it usually is.</p>
          <div className="fields">{group(optional)}</div>
        </fieldset>
      )}
      {props.error}
      <div className="decision-actions">
        <Button type="submit" loading={props.busy}>
          {props.action}
        </Button>
      </div>
    </form>
  );
}

interface SettingFieldProps {
  setting: Setting;
  value: string;
  onChange: (value: string) => void;
}

function SettingField({ setting, value, onChange }: SettingFieldProps) {
  const labels = {
    label: setting.title,
    description: setting.description ? sentence(setting.description) : undefined,
    required: setting.required,
    value,
  };
  const choices = setting.type === 'boolean' ? ['true', 'false'] : setting.choices;
  if (choices.length > 0) {
    return (
      <NativeSelect
        {...labels}
        onChange={(event) => {
          onChange(event.currentTarget.value);
        }}
      >
        <option value="">{setting.fallback && `${word(setting.fallback)} (usual)`}</option>
        {choices
          .filter((choice) => choice !== setting.fallback || choice === value)
          .map((choice) => (
            <option key={choice} value={choice}>
              {word(choice)}
            </option>
          ))}
      </NativeSelect>
    );
  }
  return (
    <TextInput
      {...labels}
      placeholder={setting.fallback}
      inputMode={setting.type === 'integer' ? 'numeric' : undefined}
      autoComplete="off"
      spellCheck={false}
      onChange={(event) => {
        onChange(event.currentTarget.value);
      }}
    />
  );
}

function word(choice: string): string {
  return choice === 'true' ? 'Yes' : choice === 'false' ? 'No' : choice;
}

interface SecretInputProps {
  field: Schema['SecretField'];
  kept: boolean;
  dropped: boolean;
  value: string;
  onChange: (value: string) => void;
  onDrop: (drop: boolean) => void;
}

function SecretInput({ field, kept, dropped, value, onChange, onDrop }: SecretInputProps) {
  const shared = {
    label: field.title ?? field.name,
    description: field.description ? sentence(field.description) : undefined,
    placeholder: kept ? 'Kept. Fill in to replace it' : undefined,
    disabled: dropped,
    value,
  };
  return (
    <div className={field.multiline ? 'wide' : undefined}>
      {field.multiline ? (
        <Textarea
          {...shared}
          rows={4}
          autoComplete="off"
          spellCheck={false}
          onChange={(event) => {
            onChange(event.currentTarget.value);
          }}
        />
      ) : (
        <TextInput
          {...shared}
          type="password"
          autoComplete="new-password"
          onChange={(event) => {
            onChange(event.currentTarget.value);
          }}
        />
      )}
      {kept && (
        <label className="tick">
          <input
            type="checkbox"
            checked={dropped}
            onChange={(event) => {
              onDrop(event.currentTarget.checked);
            }}
          />
          Forget the one that is kept
          <span className="visually-hidden">: {field.title ?? field.name}</span>
        </label>
      )}
    </div>
  );
}
