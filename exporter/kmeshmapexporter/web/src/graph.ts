// SPDX-License-Identifier: Apache-2.0

import cytoscape, { type Core, type EdgeSingular, type ElementDefinition, type NodeSingular } from "cytoscape";
import fcose from "cytoscape-fcose";

import { percent, rate } from "./format";
import { mix, palette, type Palette, style } from "./palette";
import { findPlace, type Placed, type Point } from "./place";
import type { Link, Node } from "./store";
import { clusters, spaceTitle, type View } from "./view";

cytoscape.use(fcose);

/** From so many links on, lines are straight and have no texts. */
const manyLinks = 400;
const fewLinks = 36;
/** A map that was just opened is arranged once more when it has its nodes: for so long, and after so long without a new one. */
const youngFor = 60_000;
const calmFor = 3_000;

export interface Choices {
	select(key: string): void;
	focus(node: Node): void;
}

/** The drawn graph. What is drawn keeps its place while data changes. */
export class GraphView {
	private readonly cy: Core;
	private readonly places = new Map<string, Point>();
	private palette: Palette = palette();
	private view: View = { nodes: new Map(), links: new Map(), found: undefined };
	private selected = "";
	private focused = "";
	/** The viewer moved or zoomed: from then on the map does not. */
	private touched = false;
	private moving = false;
	private fontSize = 11.5;
	private sizing = 0;
	private readonly opened = performance.now();
	private grown = 0;
	private growing = 0;

	constructor(container: HTMLElement, private readonly choices: Choices) {
		this.cy = cytoscape({
			container, style: style(this.palette, this.fontSize), minZoom: 0.08, maxZoom: 2.6,
			boxSelectionEnabled: false, selectionType: "single", autounselectify: true,
			textureOnViewport: false, hideEdgesOnViewport: false,
		});
		this.cy.on("tap", (event) => {
			if (event.target === this.cy) this.choices.select("");
		});
		this.cy.on("tap", "node", (event) => {
			const node = event.target as NodeSingular;
			if (!node.isParent()) this.choices.select(node.id());
		});
		this.cy.on("tap", "edge", (event) => this.choices.select((event.target as EdgeSingular).id()));
		this.cy.on("dragfree", "node", () => {
			this.touched = true;
			this.remember();
		});
		this.cy.on("scrollzoom dragpan pinchzoom", () => {
			this.touched = true;
		});
		this.cy.on("zoom", () => {
			clearTimeout(this.sizing);
			this.sizing = setTimeout(() => this.size(), 120);
		});
		new ResizeObserver(() => {
			this.cy.resize();
			if (!this.touched) this.fit();
		}).observe(container);
	}

	show(view: View): void {
		this.view = view;
		if (this.moving) return; // the layout's end shows it
		const isNew = this.structure();
		this.cy.batch(() => this.values());
		this.mark();
		if (isNew && !this.touched) this.fit();
	}

	/** Adds what is new, removes what is gone; says whether it moved or added nodes. */
	private structure(): boolean {
		const { cy, view } = this;
		const count = clusters(view.nodes.values());
		const spaces = new Set([...view.nodes.values()].map((node) => node.space));
		const gone = cy.elements().filter((one) => {
			const id = one.id();
			if (one.isEdge()) return !view.links.has(id);
			return one.data("box") ? !spaces.has(one.data("space") as string) : !view.nodes.has(id);
		});
		const added = [...view.nodes.values()].filter((node) => cy.getElementById(node.key).empty());
		cy.batch(() => {
			gone.filter("edge").remove();
			gone.filter((one) => one.isNode() && !one.data("box")).remove();
			gone.remove();
			for (const space of spaces) {
				const id = boxID(space);
				if (cy.getElementById(id).empty()) cy.add({ group: "nodes", data: { id, space, box: true, label: "" }, grabbable: true });
				cy.getElementById(id).data("label", spaceTitle(space, count));
			}
		});
		const known = view.nodes.size - added.length;
		const isArranged = added.some((node) => !this.places.has(node.key)) && added.length >= Math.max(3, known / 2);
		cy.batch(() => {
			for (const node of added) this.add(node, isArranged);
			for (const link of view.links.values()) {
				if (cy.getElementById(link.key).empty()) {
					cy.add({ group: "edges", data: { id: link.key, source: link.source.key, target: link.target.key, width: 1, color: this.palette.edge, label: "" } });
				}
			}
		});
		if (isArranged) {
			this.grown = 0;
			this.arrange(known > 0);
		} else if (added.length > 0) {
			this.grown += added.length;
			this.remember();
			this.settle();
		}
		return added.length > 0;
	}

	/** Arranges a young map once more, if nobody touched it and it grew by more than a fifth since. */
	private settle(): void {
		clearTimeout(this.growing);
		this.growing = setTimeout(() => {
			const isYoung = performance.now() - this.opened < youngFor;
			if (!isYoung || this.touched || this.selected || this.focused || this.grown * 5 <= this.view.nodes.size) return;
			this.grown = 0;
			this.arrange(true);
		}, calmFor);
	}

	private add(node: Node, isArranged: boolean): void {
		let position = this.places.get(node.key);
		if (!position && !isArranged) {
			const near: Point[] = [];
			for (const link of this.view.links.values()) {
				const other = link.source.key === node.key ? link.target : link.target.key === node.key ? link.source : undefined;
				const at = other && this.places.get(other.key);
				if (at) near.push(at);
			}
			position = findPlace(node.space, near, this.placed());
			this.places.set(node.key, position);
		}
		const definition: ElementDefinition = {
			group: "nodes", data: { id: node.key, parent: boxID(node.space), kind: node.kind, label: node.title, size: 30 },
		};
		if (position) definition.position = { ...position };
		this.cy.add(definition);
	}

	private placed(): Placed[] {
		return this.leaves().map((node) => ({ ...node.position(), space: (node.parent().first().data("space") as string | undefined) ?? "" }));
	}

	/** The nodes that are no boxes. */
	private leaves(): NodeSingular[] {
		return this.cy.nodes().toArray().filter((node) => !node.data("box")) as NodeSingular[];
	}

	/** Gives nodes and links what they look like now. Only what differs is drawn again. */
	private values(): void {
		const { cy, view } = this;
		const traffic = new Map<string, number>();
		const failing = new Set<string>();
		const isMany = view.links.size > manyLinks;
		const hasTexts = view.links.size <= fewLinks;
		for (const link of view.links.values()) {
			const all = link.sent + link.received;
			for (const end of [link.source.key, link.target.key]) traffic.set(end, (traffic.get(end) ?? 0) + all);
			if (link.share > 0) failing.add(link.target.key);
			const edge = cy.getElementById(link.key);
			set(edge, "width", width(all));
			set(edge, "color", this.colour(link));
			set(edge, "label", hasTexts ? text(link) : "");
			edge.toggleClass("idle", link.idle).toggleClass("failing", link.share > 0).toggleClass("many", isMany);
		}
		for (const node of view.nodes.values()) {
			const drawn = cy.getElementById(node.key);
			set(drawn, "size", node.kind === "namespace" ? 56 : 26 + Math.min(20, 4 * Math.log10(1 + (traffic.get(node.key) ?? 0) / 100)));
			set(drawn, "label", node.stands > 0 ? `${node.title} (${node.stands})` : node.title);
			drawn.toggleClass("failing", failing.has(node.key));
		}
	}

	private colour(link: Link): string {
		const { edge, bad } = this.palette;
		const strong = this.palette["edge-strong"]!;
		if (link.share > 0) return mix(mix(strong, bad!, 0.55), bad!, Math.min(1, link.share * 2));
		return mix(edge!, strong, Math.min(1, Math.log10(1 + link.sent + link.received) / 6));
	}

	/** Dims what the search and the selection leave aside. */
	private mark(): void {
		const { cy, view, selected } = this;
		const chosen = selected ? cy.getElementById(selected) : cy.collection();
		const near = chosen.empty() ? undefined : chosen.union(chosen.edges().connectedNodes()).union(chosen.nodes().closedNeighborhood());
		const isFound = (id: string): boolean => view.found === undefined || view.found.has(id);
		cy.batch(() => {
			cy.elements().forEach((one) => {
				if (one.data("box")) return;
				const isDim = near !== undefined ? !near.has(one)
					: one.group() === "nodes" ? !isFound(one.id()) : !isFound(one.data("source") as string) && !isFound(one.data("target") as string);
				one.toggleClass("dim", isDim).toggleClass("selected", one.id() === selected).toggleClass("focus", one.id() === this.focused);
			});
		});
	}

	select(key: string): void {
		this.selected = key;
		this.mark();
	}

	/** Moves the view to a node or link, if it is not in sight. */
	reveal(key: string): void {
		const one = this.cy.getElementById(key);
		if (one.empty()) return;
		const box = one.renderedBoundingBox();
		if (box.x1 < 0 || box.y1 < 0 || box.x2 > this.cy.width() || box.y2 > this.cy.height()) {
			this.touched = true;
			this.cy.center(one);
		}
	}

	/** Lays all nodes out anew. */
	arrange(isSmooth: boolean): void {
		const { cy } = this;
		const count = cy.nodes().length;
		const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
		const options = {
			name: "fcose", quality: count > 200 ? "default" : "proof", randomize: true, fit: false,
			animate: isSmooth && !isCalm && count <= 200, animationDuration: 500,
			nodeDimensionsIncludeLabels: true, packComponents: true, tile: true, tilingPaddingVertical: 26, tilingPaddingHorizontal: 26,
			nodeSeparation: 75, idealEdgeLength: () => 82, nodeRepulsion: () => 6000, edgeElasticity: () => 0.4,
			gravityRangeCompound: 1.3, gravityCompound: 1.4, gravity: 0.25, numIter: 2500,
		};
		this.moving = true;
		const layout = cy.layout(options as cytoscape.LayoutOptions);
		layout.one("layoutstop", () => {
			this.moving = false;
			this.lie();
			this.remember();
			if (!this.touched) this.fit();
			this.show(this.view);
		});
		layout.run();
	}

	/** Turns what is taller than wide: the window is wide. */
	private lie(): void {
		const box = this.cy.elements().boundingBox();
		if (box.h <= box.w * 1.05 || this.cy.width() < this.cy.height()) return;
		this.cy.batch(() => {
			for (const node of this.leaves()) node.position({ x: node.position().y, y: node.position().x });
		});
	}

	/** Keeps names readable when the map is far away. */
	private size(): void {
		const size = Math.round(2 * Math.min(26, Math.max(11.5, 11.5 / this.cy.zoom()))) / 2;
		if (size === this.fontSize) return;
		this.fontSize = size;
		this.cy.style(style(this.palette, size));
	}

	private remember(): void {
		this.cy.nodes().forEach((node) => {
			if (!node.data("box")) this.places.set(node.id(), { ...node.position() });
		});
		// Those that are gone keep their place for a while; not all of them for ever.
		if (this.places.size > 5000) {
			for (const key of this.places.keys()) if (this.cy.getElementById(key).empty()) this.places.delete(key);
		}
	}

	/** Shows all, beside the legend and the buttons that lie on the map. */
	fit(): void {
		const { cy } = this;
		if (cy.elements().empty()) return;
		const box = cy.elements().boundingBox();
		const free = { left: 40, right: 62, top: 26, bottom: 74 };
		const width = Math.max(100, cy.width() - free.left - free.right);
		const height = Math.max(100, cy.height() - free.top - free.bottom);
		const zoom = Math.max(cy.minZoom(), Math.min(1.3, width / box.w, height / box.h));
		cy.viewport({
			zoom,
			pan: {
				x: free.left + (width - box.w * zoom) / 2 - box.x1 * zoom,
				y: free.top + (height - box.h * zoom) / 2 - box.y1 * zoom,
			},
		});
	}

	fitAll(): void {
		this.touched = false;
		this.fit();
	}

	zoom(factor: number): void {
		this.touched = true;
		this.cy.zoom({ level: this.cy.zoom() * factor, renderedPosition: { x: this.cy.width() / 2, y: this.cy.height() / 2 } });
	}

	retheme(): void {
		this.palette = palette();
		this.cy.style(style(this.palette, this.fontSize));
		this.show(this.view);
	}

	/** Moves the keyboard's focus to the next node in a direction. */
	step(x: number, y: number): void {
		const from = this.cy.getElementById(this.focused);
		const nodes = this.leaves();
		let best: NodeSingular | undefined;
		if (from.empty()) {
			best = nodes.toSorted((a, b) => a.position().x + a.position().y - b.position().x - b.position().y)[0];
		} else {
			const at = (from as NodeSingular).position();
			let least = Infinity;
			nodes.forEach((node) => {
				const dx = node.position().x - at.x;
				const dy = node.position().y - at.y;
				const along = dx * x + dy * y;
				const cost = along + 2.5 * Math.abs(dx * y - dy * x);
				if (node.id() !== this.focused && along > 1 && cost < least) {
					least = cost;
					best = node;
				}
			});
		}
		if (!best) return;
		this.focused = best.id();
		this.reveal(this.focused);
		this.mark();
		const node = this.view.nodes.get(this.focused);
		if (node) this.choices.focus(node);
	}

	get focus(): string {
		return this.focused;
	}

	/** Where things are on the screen, for tests and measurements. */
	get core(): Core {
		return this.cy;
	}
}

function boxID(space: string): string {
	return `box:${space}`;
}

function set(of: cytoscape.SingularElementReturnValue, name: string, value: string | number): void {
	if (of.data(name) !== value) of.data(name, value);
}

function width(bytesPerSecond: number): number {
	return Math.round(10 * (1 + Math.min(8, Math.max(0, 1.45 * Math.log10(1 + bytesPerSecond / 200))))) / 10;
}

function text(link: Link): string {
	if (link.share > 0) return `${percent(link.share)} fail`;
	return link.idle ? "" : rate(link.sent + link.received);
}
