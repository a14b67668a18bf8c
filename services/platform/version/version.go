// Package version knows which build of the hub this is.
package version

import "runtime/debug"

// Version is set by the linker: see the Makefile.
var Version = ""

// String returns Version, or what Go itself knows of a build without it.
func String() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
