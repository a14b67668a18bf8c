import { Button, NativeSelect } from '@mantine/core';
import { useState } from 'react';
import type { Schema } from '../../api/client';
import { useOrgs } from '../../api/queries';
import { modes } from '../../lib/checks';
import { useDistrict } from '../../lib/district';

interface ExceptionsProps {
  rules: Schema['CheckRule'][];
  checks: Schema['ReadinessCheck'][];
  products: Schema['Product'][];
  onChange: (rules: Schema['CheckRule'][]) => void;
}

/** Rules that hold for one product or school only. */
export function Exceptions({ rules, checks, products, onChange }: ExceptionsProps) {
  const { id: district } = useDistrict();
  const orgs = useOrgs(district);
  const [checkId, setCheck] = useState(checks[0]?.checkId ?? '');
  const [product, setProduct] = useState('');
  const [schoolId, setSchool] = useState('');
  const [mode, setMode] = useState<Schema['CheckMode']>('INFORMATIONAL');
  const [vague, setVague] = useState(false);
  const schools = [...(orgs.data?.values() ?? [])]
    .filter((org) => org.type === 'school')
    .sort((a, b) => (a.name ?? '').localeCompare(b.name ?? ''));
  const special = rules.filter((rule) => rule.product || rule.schoolId);

  const words = (rule: Schema['CheckRule']) =>
    [
      checks.find((check) => check.checkId === rule.checkId)?.title ?? rule.checkId,
      rule.product &&
        `for ${products.find((p) => p.productId === rule.product)?.displayName ?? rule.product}`,
      rule.schoolId && `at ${orgs.data?.get(rule.schoolId)?.name ?? rule.schoolId}`,
    ]
      .filter(Boolean)
      .join(' ');
  const same = (a: Schema['CheckRule'], b: Schema['CheckRule']) =>
    a.checkId === b.checkId &&
    (a.product ?? '') === (b.product ?? '') &&
    (a.schoolId ?? '') === (b.schoolId ?? '');

  return (
    <>
      {special.length === 0 ? (
        <p className="soft">There are no such exceptions.</p>
      ) : (
        <ul className="exceptions">
          {special.map((rule) => (
            <li key={`${rule.checkId ?? ''} ${rule.product ?? ''} ${rule.schoolId ?? ''}`}>
              <span>
                {words(rule)}: <strong>{modes.find(({ id }) => id === rule.mode)?.label}</strong>
              </span>
              <Button
                variant="default"
                size="compact-xs"
                onClick={() => {
                  onChange(rules.filter((other) => !same(other, rule)));
                }}
              >
                Remove
                <span className="visually-hidden"> {words(rule)}</span>
              </Button>
            </li>
          ))}
        </ul>
      )}
      <form
        className="filters"
        aria-label="Add an exception"
        onSubmit={(event) => {
          event.preventDefault();
          setVague(!product && !schoolId);
          if (!product && !schoolId) return;
          const rule = { checkId, product, schoolId, mode };
          onChange([...rules.filter((other) => !same(other, rule)), rule]);
        }}
      >
        <NativeSelect
          label="Check"
          value={checkId}
          onChange={(event) => {
            setCheck(event.currentTarget.value);
          }}
        >
          {checks.map((check) => (
            <option key={check.checkId} value={check.checkId}>
              {check.title}
            </option>
          ))}
        </NativeSelect>
        <NativeSelect
          label="Product"
          value={product}
          error={vague && !product && !schoolId ? 'Choose a product or a school.' : undefined}
          onChange={(event) => {
            setProduct(event.currentTarget.value);
          }}
        >
          <option value="">All products</option>
          {products.map(({ productId, displayName }) => (
            <option key={productId} value={productId}>
              {displayName}
            </option>
          ))}
        </NativeSelect>
        <NativeSelect
          label="School"
          value={schoolId}
          onChange={(event) => {
            setSchool(event.currentTarget.value);
          }}
        >
          <option value="">All schools</option>
          {schools.map((school) => (
            <option key={school.sourcedId} value={school.sourcedId}>
              {school.name || school.sourcedId}
            </option>
          ))}
        </NativeSelect>
        <NativeSelect
          label="Findings"
          value={mode}
          onChange={(event) => {
            setMode(event.currentTarget.value as Schema['CheckMode']);
          }}
        >
          {modes.map(({ id, label }) => (
            <option key={id} value={id}>
              {label}
            </option>
          ))}
        </NativeSelect>
        <Button type="submit" variant="default">
          Add
          <span className="visually-hidden"> exception</span>
        </Button>
      </form>
    </>
  );
}
