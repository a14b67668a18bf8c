// Package web holds the built UI. Its sources are beside this file; `make build` builds them into
// dist, which is not committed except for a file that keeps the folder.
package web

import "embed"

// Dist is the folder "dist" with the built UI; without index.html when the UI has not been built.
//
//go:embed all:dist
var Dist embed.FS
