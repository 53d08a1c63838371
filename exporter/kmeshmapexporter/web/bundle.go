// SPDX-License-Identifier: Apache-2.0

// Package web has the map's page. Its sources are in src; `make web` bundles them into dist, which is committed, so that
// building the collector needs no Node.js.
package web

import (
	"embed"
	"io/fs"
)

//go:embed dist
var files embed.FS

// Bundle gives the page's files.
func Bundle() fs.FS {
	dist, err := fs.Sub(files, "dist")
	if err != nil { // the name is a constant
		panic(err)
	}
	return dist
}
