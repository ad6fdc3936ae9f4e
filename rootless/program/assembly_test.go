//go:build (amd64 || arm64) && !portable

package program

import "testing"

// carryOutHere is this machine's interpreter.
//
//go:nosplit
//go:norace
func carryOutHere(arena uintptr) { enter(arena) }

// otherModes are the ways of machines without an interpreter of their own.
func otherModes() []mode {
	return []mode{{"portable", runForked(true)}, {"executable", runFile(executableImage)}}
}

// A supervisor whose pidfd is not its child's cannot wait for it.
func TestSupervisorWithoutAChild(t *testing.T) {
	cmd := asFile(t, func(p *Program) { p.Exit(7) })
	cmd.Args = append(cmd.Args, "run")
	cmd.Env = []string{"pidfd=12"}
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != failureCode {
		t.Errorf("exit code %d, want %d", code, failureCode)
	}
}

// The machine code is copied as one stretch, in the order of the source.
func TestCodeIsOneStretch(t *testing.T) {
	start, end := code()
	const functions, instruction = 4, 4
	if end <= start+functions*instruction || end-start > arenaAt-codeAt {
		t.Fatalf("from %#x to %#x", start, end)
	}
}
