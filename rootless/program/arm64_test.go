package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// These tests run once more for arm64, as far as user-mode emulation goes.
func TestARM64(t *testing.T) {
	const emulator = "qemu-aarch64-static"
	if runtime.GOARCH == "arm64" {
		t.Skip("this is arm64")
	}
	qemu, err := exec.LookPath(emulator)
	if err != nil {
		t.Skipf("%s is not installed", emulator)
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no Go tool to build the arm64 tests with")
	}
	if _, err := os.Stat("interp_arm64.s"); err != nil {
		t.Skip("the source is not here")
	}
	binary := filepath.Join(t.TempDir(), "program.test")
	build := exec.Command(tool, "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, output)
	}
	test := exec.Command(qemu, binary, "-test.short")
	test.Env = append(os.Environ(), emulatorVariable+"="+qemu)
	output, err := test.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
