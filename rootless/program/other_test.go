package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// otherVariable is set in a run of these tests for another machine.
const otherVariable = "BRYO_PROGRAM_OTHER"

// These tests run once more without assembly, and for other architectures as
// far as user-mode emulation goes.
func TestOtherMachines(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no Go tool to build other tests with")
	}
	if _, err := os.Stat("interp_arm64.s"); err != nil {
		t.Skip("the source is not here")
	}
	if os.Getenv(otherVariable) != "" || testing.Short() {
		t.Skip("other machines are for a whole run of this one")
	}
	for _, test := range []struct{ name, arch, tags, emulator string }{
		{name: "portable", arch: runtime.GOARCH, tags: "portable"},
		{name: "arm64", arch: "arm64", emulator: "qemu-aarch64-static"},
		{name: "riscv64", arch: "riscv64", emulator: "qemu-riscv64-static"},
	} {
		t.Run(test.name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "program.test")
			run := exec.Command(binary)
			if test.emulator != "" {
				emulator, err := exec.LookPath(test.emulator)
				if err != nil {
					t.Skipf("%s is not installed", test.emulator)
				}
				run = exec.Command(emulator, binary)
			}
			build := exec.Command(tool, "test", "-c", "-tags", test.tags, "-o", binary, ".")
			build.Env = append(os.Environ(), "GOARCH="+test.arch, "CGO_ENABLED=0")
			if output, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, output)
			}
			run.Env = append(os.Environ(), otherVariable+"="+test.name)
			if test.emulator != "" {
				run.Env = append(run.Env, emulatorVariable+"="+run.Path)
			}
			if output, err := run.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}
