package main

import (
	"io"
	"runtime/debug"
)

// asksVersion is what bryo doctor wants to know:
//
//	bryo-image version
func asksVersion(args []string) bool { return len(args) == 1 && args[0] == "version" }

// writeVersion says what this program was built from.
func writeVersion(out io.Writer) int {
	if info, is := debug.ReadBuildInfo(); is {
		_, _ = io.WriteString(out, info.Main.Version)
	}
	return 0
}
