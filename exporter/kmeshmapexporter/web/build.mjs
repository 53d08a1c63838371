// SPDX-License-Identifier: Apache-2.0

// Bundles src into dist. The same sources and the same lock file give the same bytes.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";

await rm("dist", { recursive: true, force: true });
await mkdir("dist", { recursive: true });
await build({
	entryPoints: { map: "src/main.ts" },
	outdir: "dist",
	bundle: true,
	minify: true,
	format: "esm",
	target: "es2022",
	charset: "utf8",
	legalComments: "none", // dist/LICENSES.txt has them whole
	logLevel: "info",
});
for (const name of ["index.html", "icon.svg"]) {
	await copyFile(`src/${name}`, `dist/${name}`);
}

const bundled = ["cytoscape", "cytoscape-fcose", "cose-base", "layout-base", "uplot"];
let licenses = "The page contains these libraries.\n";
for (const name of bundled) {
	const { version } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
	const text = await readFile(`node_modules/${name}/LICENSE`, "utf8");
	licenses += `\n---- ${name} ${version}\n\n${text.trim()}\n`;
}
await writeFile("dist/LICENSES.txt", licenses);
