// SPDX-License-Identifier: Apache-2.0

export interface Point {
	x: number;
	y: number;
}

export interface Placed extends Point {
	space: string;
}

const step = 92;

/**
 * Finds a place for a new node near the others of its box, else near those that it talks to. No other node moves: whoever
 * looks at the map finds everything where it was.
 */
export function findPlace(space: string, neighbours: Point[], placed: Placed[]): Point {
	if (placed.length === 0) return { x: 0, y: 0 };
	const mates = placed.filter((node) => node.space === space);
	const boxes = boxesOf(placed, space);
	const anchor = mates.length > 0 ? mean(mates) : mean(neighbours.length > 0 ? neighbours : placed);
	const clear = mates.length > 0 ? 0.95 * step : 1.7 * step; // a new box takes more room than a node
	for (let ring = 0; ring < 60; ring++) {
		for (const spot of around(anchor, ring)) {
			const isFree = placed.every((node) => Math.hypot(node.x - spot.x, node.y - spot.y) >= clear);
			if (isFree && boxes.every((box) => spot.x < box.left || spot.x > box.right || spot.y < box.top || spot.y > box.bottom)) return spot;
		}
	}
	return { x: anchor.x, y: anchor.y + 60 * step };
}

function* around(centre: Point, ring: number): Generator<Point> {
	if (ring === 0) {
		yield centre;
		return;
	}
	const count = ring * 8;
	for (let i = 0; i < count; i++) {
		const angle = (2 * Math.PI * i) / count;
		yield { x: centre.x + Math.cos(angle) * ring * step, y: centre.y + Math.sin(angle) * ring * step * 0.85 };
	}
}

function mean(points: Point[]): Point {
	const sum = points.reduce((total, point) => ({ x: total.x + point.x, y: total.y + point.y }), { x: 0, y: 0 });
	return { x: sum.x / points.length, y: sum.y / points.length };
}

interface Box {
	left: number;
	right: number;
	top: number;
	bottom: number;
}

/** The boxes of the other spaces, with room for their frames. */
function boxesOf(placed: Placed[], space: string): Box[] {
	const boxes = new Map<string, Box>();
	const room = 0.9 * step;
	for (const node of placed) {
		if (node.space === space) continue;
		const box = boxes.get(node.space) ?? { left: Infinity, right: -Infinity, top: Infinity, bottom: -Infinity };
		boxes.set(node.space, {
			left: Math.min(box.left, node.x - room), right: Math.max(box.right, node.x + room),
			top: Math.min(box.top, node.y - room), bottom: Math.max(box.bottom, node.y + room),
		});
	}
	return [...boxes.values()];
}
