import { expect, it } from 'vitest';
import { groupChecks, totals } from './checks';

const catalogue = ['student-b', 'student-a', 'class-a', 'student-enrollments-missing'].map(
  (checkId) => ({ checkId, title: checkId }),
);

it('groups checks under the headings of the page, in the order of the catalogue', () => {
  const groups = groupChecks(
    [
      { checkId: 'student-enrollments-missing' },
      { checkId: 'class-a' },
      { checkId: 'later-kind', count: 1 },
      { checkId: 'student-a' },
      { checkId: 'student-b' },
    ],
    catalogue,
  );
  expect(groups.map(({ title, lines }) => [title, lines.map((line) => line.id)])).toEqual([
    ['Students', ['student-b', 'student-a']],
    ['Classes', ['class-a']],
    ['Enrollments', ['student-enrollments-missing']],
    ['Other', ['later-kind']],
  ]);
});

it('shows a check that the catalogue does not know under its id', () => {
  const [group] = groupChecks([{ checkId: 'new-one', count: 2 }], []);
  expect(group?.lines[0]).toMatchObject({ count: 2, check: { title: 'new-one' } });
});

it('counts what is to fix apart from what is not', () => {
  expect(
    totals([
      { checkId: 'a', count: 3, informationalCount: 1 },
      { checkId: 'b', informationalCount: 4 },
      { checkId: 'c', count: 2 },
    ]),
  ).toEqual({ checks: 3, failing: 2, findings: 5, informational: 5 });
});
