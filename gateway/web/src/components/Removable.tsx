import { Button } from '@mantine/core';

interface RemovableProps<T> {
  items: readonly T[];
  words: (item: T) => string;
  onChange: (items: T[]) => void;
}

/** A list of what was added, each to be taken out again. */
export function Removable<T>({ items, words, onChange }: RemovableProps<T>) {
  if (items.length === 0) return null;
  return (
    <ul className="exceptions">
      {items.map((item) => (
        <li key={JSON.stringify(item)}>
          <span>{words(item)}</span>
          <Button
            variant="default"
            size="compact-xs"
            onClick={() => {
              onChange(items.filter((other) => other !== item));
            }}
          >
            Remove
            <span className="visually-hidden"> {words(item)}</span>
          </Button>
        </li>
      ))}
    </ul>
  );
}
