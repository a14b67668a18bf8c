import AxeBuilder from '@axe-core/playwright';
import { expect, type Page } from './fixtures';

const widths = { narrow: 390, wide: 1440 };

/** A picture of the screen at each width, free of what axe complains about and no wider than it is. */
export async function expectSound(page: Page, name: string) {
  for (const [size, width] of Object.entries(widths)) {
    await page.setViewportSize({ width, height: 900 });
    await page.screenshot({
      path: `test-results/screens/${name}-${size}.png`,
      fullPage: true,
      animations: 'disabled',
    });

    const { violations } = await new AxeBuilder({ page })
      .withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'])
      .analyze();
    expect(
      violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join('\n')}`),
    ).toEqual([]);

    // What is wider than the screen scrolls in its own place.
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(overflow, `${name} at ${width}`).toBe(0);
  }
}
