package main

import (
	"fmt"
	"runtime"
)

// version is set by the build: -ldflags "-X main.version=...".
var version = "devel" //nolint:gochecknoglobals // the linker sets it

func runVersion(_ []string, s streams) int {
	if _, err := fmt.Fprintf(s.out, "bryo %s %s/%s\n", version, runtime.GOOS, runtime.GOARCH); err != nil {
		return report(s, err)
	}
	return exitOK
}
