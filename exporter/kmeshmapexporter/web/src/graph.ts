// SPDX-License-Identifier: Apache-2.0

import cytoscape, { type Core, type EdgeSingular, type ElementDefinition, type NodeSingular } from "cytoscape";
import fcose from "cytoscape-fcose";

import { percent, rate } from "./format";
import { mix, palette, type Palette, style } from "./palette";
import { findPlace, grid, type Placed, type Point } from "./place";
import type { Link, Node } from "./store";
import { clusters, spaceTitle, type View } from "./view";

cytoscape.use(fcose);

/** From so many links on, lines are straight and thin, without arrows and texts. */
const manyLinks = 300;
/** From so many nodes on, boxes are grids. */
const manyNodes = 90;
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
	private readonly drawn = new Map<string, { element: cytoscape.CollectionReturnValue; look: string }>();
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
	private marked = "";
	/** How many nodes there were when all were fitted into the window. */
	private fitted = 0;
	private growing = 0;

	constructor(container: HTMLElement, private readonly choices: Choices) {
		this.cy = cytoscape({
			container, style: style(this.palette, this.fontSize), minZoom: 0.08, maxZoom: 2.6,
			boxSelectionEnabled: false, selectionType: "single", autounselectify: true,
			// Moving the view moves a picture of it; it is drawn anew when it rests.
			textureOnViewport: true,
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
			this.sizing = setTimeout(() => this.size(), 250);
		});
		new ResizeObserver(() => {
			this.cy.resize();
			if (!this.touched) this.fit();
		}).observe(container);
	}

	show(view: View): void {
		this.view = view;
		if (this.moving) return; // the layout's end shows it
		const found = view.found ? [...view.found].join() : "";
		const isNew = this.structure();
		this.cy.batch(() => this.values());
		if (isNew || found !== this.marked) this.mark();
		this.marked = found;
		if (view.nodes.size !== this.fitted && !this.touched) this.fit();
	}

	/**
	 * Adds what is new, removes what is gone; says whether it did anything. To ask cytoscape for each element takes longer than all
	 * the rest, so what is drawn is known here.
	 */
	private structure(): boolean {
		const { cy, view, drawn } = this;
		const gone = [...drawn.keys()].filter((key) => !view.nodes.has(key) && !view.links.has(key));
		const nodes = [...view.nodes.values()].filter((node) => !drawn.has(node.key));
		const links = [...view.links.values()].filter((link) => !drawn.has(link.key));
		if (gone.length + nodes.length + links.length === 0) return false;
		const fresh = nodes.filter((node) => !this.places.has(node.key)).length;
		const known = view.nodes.size - fresh;
		const isArranged = fresh > 0 && fresh >= Math.max(3, known / 2);
		cy.batch(() => {
			for (const key of gone) {
				drawn.get(key)!.element.remove();
				drawn.delete(key);
			}
			this.frames();
			for (const node of nodes) drawn.set(node.key, { element: this.add(node, isArranged), look: "" });
			for (const link of links) {
				const data = { id: link.key, source: link.source.key, target: link.target.key, width: 1, color: this.palette.edge, label: "" };
				drawn.set(link.key, { element: cy.add({ group: "edges", data }), look: "" });
			}
		});
		if (isArranged) {
			this.grown = 0;
			this.arrange(known > 0);
		} else if (nodes.length > 0) {
			this.remember();
			if (fresh > 0) {
				this.grown += fresh;
				this.settle();
			}
		}
		return true;
	}

	/** Adds and removes the boxes. */
	private frames(): void {
		const { cy, view } = this;
		const count = clusters(view.nodes.values());
		const spaces = new Set([...view.nodes.values()].map((node) => node.space));
		for (const box of cy.nodes().toArray()) {
			if (box.data("box") && !spaces.has(box.data("space") as string)) {
				box.remove();
			}
		}
		for (const space of spaces) {
			const id = boxID(space);
			const label = spaceTitle(space, count);
			const box = cy.getElementById(id);
			if (box.empty()) cy.add({ group: "nodes", data: { id, space, box: true, label }, grabbable: false, pannable: true });
			else if (box.data("label") !== label) box.data("label", label);
		}
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

	private add(node: Node, isArranged: boolean): cytoscape.CollectionReturnValue {
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
		return this.cy.add(definition);
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
		const { view } = this;
		const traffic = new Map<string, number>();
		const failing = new Set<string>();
		const isMany = view.links.size > manyLinks;
		const hasTexts = view.links.size <= fewLinks;
		for (const link of view.links.values()) {
			const all = link.sent + link.received;
			for (const end of [link.source.key, link.target.key]) traffic.set(end, (traffic.get(end) ?? 0) + all);
			if (link.share > 0) failing.add(link.target.key);
			const data = { width: width(all), color: this.colour(link), label: hasTexts ? text(link) : "" };
			this.look(link.key, data, { idle: link.idle, failing: link.share > 0, many: isMany });
		}
		for (const node of view.nodes.values()) {
			const size = node.kind === "namespace" ? 56 : 26 + 2 * Math.round(Math.min(10, 2 * Math.log10(1 + (traffic.get(node.key) ?? 0) / 100)));
			const label = node.stands > 0 ? `${node.title} (${node.stands})` : node.title;
			this.look(node.key, { size, label }, { failing: failing.has(node.key) });
		}
	}

	/** Draws an element anew, if it looks different. */
	private look(key: string, data: Record<string, string | number>, classes: Record<string, boolean>): void {
		const drawn = this.drawn.get(key);
		const look = JSON.stringify([data, classes]);
		if (!drawn || drawn.look === look) return;
		drawn.look = look;
		drawn.element.data(data);
		for (const [name, isSet] of Object.entries(classes)) drawn.element.toggleClass(name, isSet);
	}

	private colour(link: Link): string {
		const { edge, bad } = this.palette;
		const strong = this.palette["edge-strong"]!;
		if (link.share > 0) return mix(mix(strong, bad!, 0.55), bad!, Math.round(8 * Math.min(1, link.share * 2)) / 8);
		return mix(edge!, strong, Math.round(8 * Math.min(1, Math.log10(1 + link.sent + link.received) / 6)) / 8);
	}

	/** Dims what the search and the selection leave aside. */
	private mark(): void {
		const { cy, view, selected } = this;
		const chosen = selected ? cy.getElementById(selected) : cy.collection();
		const near = chosen.empty() ? undefined : neighbourhood(chosen);
		const isFound = (id: string): boolean => view.found === undefined || view.found.has(id);
		cy.batch(() => {
			cy.elements().forEach((one) => {
				if (one.data("box")) return;
				const isDim = near !== undefined ? !near.has(one)
					: one.group() === "nodes" ? !isFound(one.id()) : !isFound(one.data("source") as string) && !isFound(one.data("target") as string);
				one.toggleClass("dim", isDim).toggleClass("near", near !== undefined && !isDim).toggleClass("selected", one.id() === selected).toggleClass("focus", one.id() === this.focused);
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
		const leaves = this.leaves();
		const count = leaves.length;
		if (count > manyNodes) {
			const places = grid(leaves.map((node) => ({
				key: node.id(), space: node.parent().first().data("space") as string, title: node.data("label") as string, kind: node.data("kind") as string,
			})), Math.max(1, cy.width() / Math.max(1, cy.height())));
			cy.batch(() => leaves.forEach((node) => node.position(places.get(node.id())!)));
			this.remember();
			if (!this.touched) this.fit();
			return;
		}
		const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
		const options = {
			name: "fcose", quality: "proof", randomize: true, fit: false,
			animate: isSmooth && !isCalm, animationDuration: 500,
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

	/** Turns what is taller than wide, and draws it out to the window's shape, which leaves more room for names. */
	private lie(): void {
		const leaves = this.leaves();
		const before = this.cy.elements().boundingBox();
		const isTurned = before.h > before.w * 1.05 && this.cy.width() > this.cy.height();
		const shape = isTurned ? before.h / before.w : before.w / before.h;
		const stretch = Math.min(1.6, Math.max(1, (0.9 * this.cy.width()) / this.cy.height() / shape));
		this.cy.batch(() => {
			for (const node of leaves) {
				const { x, y } = node.position();
				node.position({ x: stretch * (isTurned ? y : x), y: isTurned ? x : y });
			}
		});
	}

	/** Keeps names readable when the map is far away. */
	private size(): void {
		const isMany = this.view.links.size > manyLinks;
		const wanted = Math.min(26, Math.max(11.5, 11.5 / this.cy.zoom()));
		// All elements get their style anew: with many of them in large steps.
		const steps = isMany ? 3 : 24;
		const size = 11.5 * 2 ** (Math.round(Math.log2(wanted / 11.5) * steps) / steps);
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
		this.fitted = this.view.nodes.size;
		if (this.fitted === 0) return;
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
		for (const drawn of this.drawn.values()) drawn.look = "";
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

/** What belongs to a node or link: behind a service also those that it connects with the node. */
function neighbourhood(chosen: cytoscape.CollectionReturnValue): cytoscape.CollectionReturnValue {
	const near = chosen.union(chosen.edges().connectedNodes()).union(chosen.nodes().closedNeighborhood());
	const clients = chosen.nodes().incomers("node[kind = 'service']").incomers();
	const backends = chosen.nodes().outgoers("node[kind = 'service']").outgoers();
	return near.union(clients).union(backends);
}

function boxID(space: string): string {
	return `box:${space}`;
}

function width(bytesPerSecond: number): number {
	return Math.round(2 * (1 + Math.min(8, Math.max(0, 1.45 * Math.log10(1 + bytesPerSecond / 200))))) / 2;
}

function text(link: Link): string {
	if (link.share > 0) return `${percent(link.share)} fail`;
	return link.idle ? "" : rate(link.sent + link.received);
}
