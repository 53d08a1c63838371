// SPDX-License-Identifier: Apache-2.0

import uPlot from "uplot";

import { element } from "./element";
import { font, palette } from "./palette";

export interface Line {
	name: string;
	/** A class of the key, and the colour's name. */
	key: "first" | "second" | "fails";
	values: (number | null)[];
}

const colours = { first: "accent", second: "second", fails: "bad" };

/** A small chart. Its size and axes stay the same while its values change. */
export class Chart {
	readonly element: HTMLElement;
	private readonly plot: HTMLElement;
	private chart: uPlot | undefined;
	private theme = "";

	constructor(private readonly title: string, private readonly format: (value: number) => string) {
		this.plot = element("div", { class: "chart" });
		this.element = element("div", { hidden: true }, element("h3", {}, title), this.plot);
	}

	show(times: number[], lines: Line[]): void {
		const theme = palette().accent! + palette().back!;
		const isShown = lines.some((line) => line.values.some((value) => value !== null && value > 0));
		this.element.hidden = !isShown;
		if (!isShown) return;
		const data = [times, ...lines.map((line) => line.values)] as uPlot.AlignedData;
		if (this.chart && this.theme === theme) {
			this.chart.setData(data);
		} else {
			this.theme = theme;
			this.draw(data, lines);
		}
		const last = lines.map((line) => `${line.name} ${this.format(line.values.findLast((value) => value !== null) ?? 0)}`);
		this.plot.setAttribute("aria-label", `${this.title}, last: ${last.join(", ")}`);
	}

	private draw(data: uPlot.AlignedData, lines: Line[]): void {
		const colour = palette();
		this.chart?.destroy();
		this.plot.replaceChildren();
		this.plot.setAttribute("role", "img");
		const axis = { stroke: colour.faint!, font: `10.5px ${font}`, ticks: { show: false }, grid: { stroke: colour.line!, width: 1 } };
		this.chart = new uPlot({
			width: 352, height: 104, padding: [8, 4, 0, 0], legend: { show: false }, cursor: { show: false },
			scales: { x: { time: true }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.12 : 1] } },
			axes: [
				{ ...axis, grid: { show: false }, size: 22, space: 70, incrs: [60, 120, 300, 600, 900, 1800], values: (_, splits) => splits.map((at) => new Date(at * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hour12: false })) },
				{ ...axis, size: 58, space: 32, values: (_, splits) => splits.map((value) => this.format(value)) },
			],
			series: [{}, ...lines.map((line) => ({
				label: line.name, stroke: colour[colours[line.key]]!, width: 1.6, fill: `${colour[colours[line.key]]!}1f`, points: { show: false }, spanGaps: true,
			}))],
		}, data, this.plot);
		if (lines.length > 1) {
			this.plot.append(element("div", { class: "keys", "aria-hidden": "true" }, ...lines.map((line) => element("span", { class: line.key }, line.name))));
		}
	}
}
