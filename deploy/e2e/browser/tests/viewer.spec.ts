import { readFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import { expect, numbers, someStudent, test } from './fixtures';

test('from an email to the user, the enrollments and a class', async ({ page, hub }) => {
  const student = await someStudent(hub);
  await page.goto(`/districts/${hub.district}/data`);
  await page.getByRole('textbox', { name: 'Email', exact: true }).fill(student.email);
  await page.getByRole('button', { name: 'View Data' }).click();
  await expect(page.getByText('1–1 of 1', { exact: true })).toBeVisible();

  await page.getByRole('button', { name: /^Show Raw Data/ }).click();
  const raw = page.getByRole('region', { name: 'Raw data' });
  const { record } = await hub.get('users:get', { sourcedId: student.sourcedId });
  expect(JSON.parse(await raw.innerText())).toEqual(record);

  await page.getByRole('link', { name: student.sourcedId, exact: true }).first().click();
  await expect(
    page.getByRole('heading', { name: `${student.givenName} ${student.familyName}` }),
  ).toBeVisible();
  await expect(page.getByText('First version')).toBeVisible();

  const { totalSize } = await hub.get('enrollments', { userId: student.sourcedId });
  await page.getByRole('link', { name: 'Enrollments of this user' }).click();
  await expect(page.getByText(new RegExp(`of ${numbers.format(totalSize)}$`))).toBeVisible();
  await expect(page.getByRole('textbox', { name: 'Securly Internal User ID' })).toHaveValue(
    student.sourcedId,
  );

  await page.locator('td.column-class a').first().click();
  await page.getByRole('link', { name: 'Students of this class' }).click();
  await expect(page.getByRole('heading', { name: 'Enrollments' })).toBeVisible();
  await expect(page.locator('td.column-user').first()).toBeVisible();

  await page.goBack();
  await page.goBack();
  await expect(page.getByText(new RegExp(`of ${numbers.format(totalSize)}$`))).toBeVisible();
});

test('pages of 100 with an exact total, there and back', async ({ page, hub }) => {
  const { totalSize } = await hub.get('users');
  await page.goto(`/districts/${hub.district}/data`);
  await page.getByRole('button', { name: 'View Data' }).click();
  const total = numbers.format(totalSize);
  const ids = page.locator('td.column-sourcedId');
  const range = (from: number) =>
    page.getByText(`${numbers.format(from)}–${numbers.format(from + 99)} of ${total}`).first();

  await expect(range(1)).toBeVisible();
  const first = await ids.allInnerTexts();
  expect(first).toHaveLength(100);

  await page.getByRole('button', { name: 'Next' }).first().click();
  await expect(range(101)).toBeVisible();
  await expect(ids.first()).not.toHaveText(first[0] ?? '');
  const second = await ids.allInnerTexts();
  expect(second.filter((id) => first.includes(id))).toEqual([]);

  await page.getByRole('button', { name: 'Next' }).first().click();
  await expect(range(201)).toBeVisible();
  await page.reload();
  await expect(range(201)).toBeVisible();
  await page.getByRole('button', { name: 'Previous' }).first().click();
  await expect(range(101)).toBeVisible();
  await expect(ids.first()).toHaveText(second[0] ?? '');
  await page.goBack();
  await expect(range(201)).toBeVisible();
  await page.getByRole('button', { name: 'First' }).first().click();
  await expect(range(1)).toBeVisible();
  await expect(ids).toHaveText(first);
});

test('every entity shows its records, and its CSV has them all', async ({ page, hub }) => {
  const entities = page.getByRole('combobox', { name: 'Entity' });
  await page.goto(`/districts/${hub.district}/data`);
  await expect(entities.locator('option')).toHaveCount(7);
  const choices = await entities.locator('option').evaluateAll((options) =>
    options.map((option) => ({
      id: (option as HTMLOptionElement).value,
      label: option.textContent ?? '',
    })),
  );
  for (const { id, label } of choices) {
    const { totalSize } = await hub.get(id);
    await entities.selectOption(id);
    await page.getByRole('button', { name: 'View Data' }).click();
    await expect(page.getByRole('heading', { name: label, exact: true })).toBeVisible();
    await expect(
      page.getByText(new RegExp(`of ${numbers.format(totalSize)}$`)).first(),
    ).toBeVisible();
    if (id === 'orgs' || id === 'classes') {
      const download = page.waitForEvent('download');
      await page.getByRole('link', { name: 'Download CSV' }).click();
      const rows: unknown[] = parse(await readFile(await (await download).path()), {
        columns: true,
        bom: true,
      });
      expect(rows).toHaveLength(totalSize);
    }
  }
});

test('filters by role, school, status and the beginning of a name', async ({ page, hub }) => {
  const student = await someStudent(hub);
  const school = student.roles[0].org.sourcedId;
  const search = {
    role: 'student',
    schoolId: school,
    status: 'active',
    q: student.familyName.slice(0, 3),
  };
  const { totalSize } = await hub.get('users', search);
  await page.goto(`/districts/${hub.district}/data`);
  await page.getByRole('textbox', { name: 'Name or email' }).fill(search.q);
  await page.getByRole('combobox', { name: 'Role' }).selectOption(search.role);
  await page.getByRole('combobox', { name: 'School' }).selectOption(school);
  await page.getByRole('combobox', { name: 'Status' }).selectOption('active');
  await page.getByRole('button', { name: 'View Data' }).click();
  await expect(
    page.getByText(new RegExp(`of ${numbers.format(totalSize)}$`)).first(),
  ).toBeVisible();

  // The address alone brings it all back.
  const address = page.url();
  await page.goto('/');
  await page.goto(address);
  await expect(
    page.getByText(new RegExp(`of ${numbers.format(totalSize)}$`)).first(),
  ).toBeVisible();
  await expect(page.getByRole('combobox', { name: 'School' })).toHaveValue(school);
});

test('says what to do when nothing is found', async ({ page, hub }) => {
  await page.goto(`/districts/${hub.district}/data`);
  await page
    .getByRole('textbox', { name: 'Securly Internal ID', exact: true })
    .fill('no/such id:100%?');
  await page.getByRole('button', { name: 'View Data' }).click();
  await expect(page.getByText('No data found')).toBeVisible();
  await expect(page.getByText('Remove a search field')).toBeVisible();

  await page.goto(
    `/districts/${hub.district}/data/users/record?id=${encodeURIComponent('no/such id:100%?')}`,
  );
  await expect(page.getByRole('heading', { name: 'No data found' })).toBeVisible();
});
