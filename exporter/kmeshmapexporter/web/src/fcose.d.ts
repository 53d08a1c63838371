// SPDX-License-Identifier: Apache-2.0

declare module "cytoscape-fcose" {
	const extension: import("cytoscape").Ext;
	export default extension;
}
