//go:build portable || !(amd64 || arm64)

package program

//go:nosplit
//go:norace
func carryOutHere(arena uintptr) { carryOut(arena) }

func otherModes() []mode { return nil }
