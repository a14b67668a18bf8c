import { type ReactNode, useId } from 'react';

interface ChoiceProps {
  /** Of the group: one of it is chosen. */
  name: string;
  label: string;
  chosen: boolean;
  onChoose: () => void;
  /** What choosing it means. */
  children?: ReactNode;
}

/** One of several ways, with a line that says what it means. */
export function Choice({ name, label, chosen, onChoose, children }: ChoiceProps) {
  const id = useId();
  return (
    <div className="choice">
      <input
        type="radio"
        name={name}
        id={id}
        checked={chosen}
        aria-describedby={children ? `${id}-note` : undefined}
        onChange={onChoose}
      />
      <label htmlFor={id}>{label}</label>
      {children && (
        <span className="soft" id={`${id}-note`}>
          {children}
        </span>
      )}
    </div>
  );
}
