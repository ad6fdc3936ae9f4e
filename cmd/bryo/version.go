package main

import (
	"fmt"
	"runtime"
)

// version is set by the build: -ldflags "-X main.version=...".
var version = "devel"

func runVersion(_ []string, s streams) int {
	return write(s, fmt.Sprintf("bryo %s %s/%s\n", version, runtime.GOOS, runtime.GOARCH))
}
