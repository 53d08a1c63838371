// SPDX-License-Identifier: Apache-2.0

// Drives a page in Chromium for the tests in test/map: a command per line of standard input, as JSON, and an answer per
// line of standard output.
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const browser = await chromium.launch({
	executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
	args: ["--no-sandbox", "--disable-dev-shm-usage", "--font-render-hinting=none"],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", deviceScaleFactor: 1 });
await context.grantPermissions(["clipboard-read", "clipboard-write"]);
const page = await context.newPage();
page.setDefaultTimeout(15_000);
const problems = [];
const origins = new Set();
page.on("console", (message) => {
	if (message.type() === "error" || message.type() === "warning") problems.push(`${message.type()}: ${message.text()}`);
});
page.on("pageerror", (error) => problems.push(`exception: ${error.message}`));
page.on("dialog", (dialog) => {
	problems.push(`dialog: ${dialog.message()}`);
	void dialog.dismiss();
});
page.on("request", (request) => origins.add(new URL(request.url()).origin));

const commands = {
	open: ({ url }) => page.goto(url).then(() => null),
	evaluate: ({ script }) => page.evaluate(script),
	click: ({ selector }) => page.click(selector).then(() => null),
	point: ({ x, y }) => page.mouse.click(x, y).then(() => null),
	press: ({ key }) => page.keyboard.press(key).then(() => null),
	fill: ({ selector, text }) => page.fill(selector, text).then(() => null),
	focus: ({ selector }) => page.focus(selector).then(() => null),
	scheme: ({ name }) => page.emulateMedia({ colorScheme: name }).then(() => null),
	viewport: ({ width, height }) => page.setViewportSize({ width, height }).then(() => null),
	screenshot: ({ path }) => page.screenshot({ path }).then(() => null),
	tree: () => page.locator("body").ariaSnapshot(),
	// What went wrong since the last time, and with whom the page talked.
	report: () => ({ problems: problems.splice(0), origins: [...origins] }),
};

for await (const line of createInterface({ input: process.stdin })) {
	const { name, ...arguments_ } = JSON.parse(line);
	let answer;
	try {
		answer = { value: (await commands[name](arguments_)) ?? null };
	} catch (error) {
		answer = { error: String(error) };
	}
	process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
