// SPDX-License-Identifier: Apache-2.0

import type { StylesheetJson } from "cytoscape";

/** The colours of the style sheet, for what is drawn on a canvas. */
export interface Palette {
	[name: string]: string;
}

const names = [
	"back", "surface", "line", "text", "quiet", "faint", "accent", "second", "workload", "workload-line", "service", "service-line",
	"address", "address-line", "edge", "edge-strong", "bad", "box", "box-line",
];

export function palette(): Palette {
	const style = getComputedStyle(document.documentElement);
	return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

export const font = 'Inter, "Segoe UI", -apple-system, system-ui, Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif';

/** Mixes two colours of the form #rrggbb. */
export function mix(from: string, to: string, share: number): string {
	const channel = (text: string, at: number): number => Number.parseInt(text.slice(at, at + 2), 16);
	const part = (at: number): string =>
		Math.round(channel(from, at) + (channel(to, at) - channel(from, at)) * share).toString(16).padStart(2, "0");
	return `#${part(1)}${part(3)}${part(5)}`;
}

/** The graph's style, with names of a size in the graph's units. */
export function style(p: Palette, size: number): StylesheetJson {
	const kind = (name: string): object => ({ "background-color": p[name]!, "border-color": p[`${name}-line`]! });
	return [
		{
			selector: "node[size]",
			style: {
				width: "data(size)", height: "data(size)", label: "data(label)",
				"font-family": font, "font-size": size, "font-weight": 500, color: p.text!,
				"text-valign": "bottom", "text-halign": "center", "text-margin-y": 5,
				"text-max-width": `${size * 11}px`, "text-wrap": "ellipsis", "min-zoomed-font-size": 6,
				"text-background-color": p.box!, "text-background-opacity": 0.82, "text-background-padding": "2px", "text-background-shape": "roundrectangle",
				"border-width": 1.5, "overlay-opacity": 0,
			},
		},
		{ selector: "node[kind = 'workload']", style: { shape: "ellipse", ...kind("workload") } },
		{ selector: "node[kind = 'service']", style: { shape: "diamond", ...kind("service") } },
		{ selector: "node[kind = 'address']", style: { shape: "round-rectangle", ...kind("address") } },
		{ selector: "node[kind = 'unknown']", style: { shape: "ellipse", "border-style": "dashed", ...kind("address"), "background-opacity": 0.35 } },
		{ selector: "node[kind = 'namespace']", style: { shape: "round-octagon", ...kind("workload"), "border-width": 4, "border-style": "double" } },
		{ selector: "node.failing", style: { "border-color": p.bad!, "border-width": 3 } },
		{
			selector: ":parent",
			style: {
				"overlay-opacity": 0, "font-family": font, shape: "round-rectangle", "corner-radius": "14px", "background-color": p.box!, "background-opacity": 0.9,
				"border-width": 1, "border-color": p["box-line"]!, padding: "20px", label: "data(label)",
				"text-valign": "top", "text-halign": "center", "text-margin-y": -5, "font-size": size * 1.08, "font-weight": 600,
				color: p.quiet!, "text-max-width": `${size * 20}px`, "text-background-opacity": 0, "min-zoomed-font-size": 5,
			} as object,
		},
		{
			selector: "edge",
			style: {
				width: "data(width)", "line-color": "data(color)", "target-arrow-color": "data(color)", "target-arrow-shape": "triangle",
				"arrow-scale": 0.85, "curve-style": "bezier", "control-point-step-size": 46, opacity: 0.92, "overlay-opacity": 0,
				label: "data(label)", "font-family": font, "font-size": size * 0.86, color: p.quiet!, "min-zoomed-font-size": 7,
				"text-background-color": p.box!, "text-background-opacity": 0.9, "text-background-padding": "2px", "text-background-shape": "roundrectangle",
				"loop-direction": "-45deg", "loop-sweep": "-60deg",
			},
		},
		{ selector: "edge.many", style: { "curve-style": "straight", "arrow-scale": 0.7 } },
		{ selector: "edge.idle", style: { "line-style": "dashed", "line-dash-pattern": [5, 4], opacity: 0.6 } },
		{ selector: "edge.failing", style: { color: p.bad!, "z-index": 5 } },
		{ selector: ".dim", style: { opacity: 0.2, "text-opacity": 0.3 } },
		{ selector: "node.focus", style: { "outline-width": 3, "outline-offset": 3, "outline-color": p.accent!, "outline-opacity": 0.55 } as object },
		{ selector: "node.selected", style: { "outline-width": 4, "outline-offset": 2, "outline-color": p.accent!, "outline-opacity": 1 } as object },
		{ selector: "edge.selected", style: { "underlay-color": p.accent!, "underlay-opacity": 0.35, "underlay-padding": 5, "z-index": 9 } as object },
	];
}
