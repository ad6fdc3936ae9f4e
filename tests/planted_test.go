package tests

import (
	"slices"
	"strings"
	"testing"
)

// What follows plants violations, to show that the tests of the layers can fail.

func TestPlantedFloors(t *testing.T) {
	for _, c := range []struct{ from, imported, want string }{
		{"rootless/program", "golang.org/x/sys/unix", ""},
		{"rootless/program", "encoding/binary", ""},
		{"rootless/program", "github.com/spf13/pflag", "golang.org/x/sys only"},
		{"rootless/program", "golang.org/x/system", "golang.org/x/sys only"},
		{"rootless/program", "bryo/idmap", "upward"},
		{"idmap", "bryo/rootless/program", ""},
		{"idmap", "bryo/netslirp", "sideways"},
		{"rootless/ns", "bryo/idmap", "sideways"},
		{"fsroot", "bryo/idmap", ""},
		{"fsroot", "bryo/rootless/confine", "sideways"},
		{"fsroot", "bryo/rootless", "upward"},
		{"netslirp/stack", "bryo/netslirp", ""},
		{"netslirp/stack", "bryo/netslirp/dns", "sideways"},
		{"rootless", "bryo/fsroot", ""},
		{"rootless", "bryo/netslirp/stack", "for cmd/bryo-net and cmd/bryo-image only"},
		{"rootless", "bryo/rootless/launch", "upward"},
		{"rootless/host", "bryo/rootless", ""},
		{"rootless/launch", "bryo/rootless/state", ""},
		{"rootless/launch", "bryo/rootless/oci", "may not import"},
		{"cmd/bryo", "bryo/rootless/launch", ""},
		{"cmd/bryo", "bryo/netslirp/ports", "for cmd/bryo-net and cmd/bryo-image only"},
		{"cmd/bryo-net", "bryo/netslirp/ports", ""},
		{"cmd/bryo", "bryo/fsroot/unpack", "for fsroot/shelf and fsroot/pack and cmd/bryo-image only"},
		{"fsroot/unpack", "bryo/fsroot/tree", ""},
		{"fsroot/tree", "bryo/fsroot/unpack", "upward"},
		{"cmd/bryo", "bryo/rootless/util", "no floor"},
		{"tests/bench", "bryo/netslirp/stack", ""},
	} {
		got := floorFault(c.from, c.imported)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s: got %q, want %q", c.from, c.imported, got, c.want)
		}
	}
	if known("rootless/util") {
		t.Error("rootless/util stands on a floor")
	}
}

func TestPlantedConfinedImports(t *testing.T) {
	for _, c := range []struct {
		name, imported string
		allowed        bool
	}{
		{"cmd/bryo/run.go", "github.com/spf13/pflag", true},
		{"rootless/spec.go", "github.com/spf13/pflag", false},
		{"idmap/subid.go", "github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools", true},
		{"idmap/deep/subid.go", "github.com/rootless-containers/rootlesskit/v3/pkg/parent/idtools", false},
		{"netslirp/forward.go", "github.com/rootless-containers/rootlesskit/v3/pkg/port/portutil", false},
		{"rootless/program/arena.go", "unsafe", true},
		{"rootless/host/probe.go", "unsafe", false},
		{"rootless/host/probe.go", "unsafety", true},
	} {
		if got := confinedFault(c.name, c.imported); (got == "") != c.allowed {
			t.Errorf("%s imports %s: %q", c.name, c.imported, got)
		}
	}
}

func TestPlantedLink(t *testing.T) {
	imports := map[string][]string{
		"bryo/cmd/bryo": {"fmt", "bryo/netslirp", "bryo/idmap"},
		"bryo/idmap":    {"example.org/api"},
		"bryo/netslirp": {"net/netip"},
		"net/http/sub":  {},
		"example.org/api": {
			"net/http/sub",
		},
	}
	want := []string{"bryo/cmd/bryo", "bryo/idmap", "example.org/api", "net/http/sub"}
	if got := chainTo(imports, "bryo/cmd/bryo", "net/http"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := chainTo(imports, "bryo/cmd/bryo", "gvisor.dev/gvisor"); got != nil {
		t.Errorf("got %q, want none", got)
	}
	if got := chainTo(linked(t, "./tests/skips"), "bryo/tests/skips", "encoding/json"); len(got) != 2 {
		t.Errorf("tests/skips links encoding/json: got %q", got)
	}
}

func TestPlantedImpurities(t *testing.T) {
	names := map[string]map[string]bool{}
	for pkg := range kernel() {
		names[pkg] = effects(t, pkg)
	}
	for _, c := range []struct{ name, imports, body, want string }{
		{"constants and types", `"golang.org/x/sys/unix"`, `unix.Signal(unix.SIGTERM)`, ""},
		{"an error number", `"golang.org/x/sys/unix"`, `unix.Errno(1) == unix.EPERM`, ""},
		{"a literal of a type", `"golang.org/x/sys/unix"`, `unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}`, ""},
		{"device numbers", `"golang.org/x/sys/unix"`, `unix.Mkdev(1, 3)`, ""},
		{"addresses", `"net/netip"`, `netip.MustParseAddr("::1")`, ""},
		{"a method named like a call", `"golang.org/x/sys/unix"`, `unix.Errno(1).Error()`, ""},
		{"a system call", `"golang.org/x/sys/unix"`, `unix.Getuid()`, "unix.Getuid in line 3"},
		{"a call not called", `"golang.org/x/sys/unix"`, `unix.Mount`, "unix.Mount"},
		{"a renamed package", `k "golang.org/x/sys/unix"`, `k.Getpid()`, "k.Getpid"},
		{"a package's names", `. "golang.org/x/sys/unix"`, `Getpid()`, "takes in the names"},
		{"syscall", `"syscall"`, `syscall.Getpid()`, "syscall.Getpid"},
		{"a variable", `"syscall"`, `&syscall.ForkLock`, "syscall.ForkLock"},
		{"os", `"os"`, `os.Args`, "imports os"},
		{"os/exec", `"os/exec"`, `exec.ErrNotFound`, "imports os/exec"},
		{"net", `"net"`, `net.IPv4len`, "imports net"},
		{"the clock", `"time"`, `time.Now()`, "time.Now"},
		{"a duration", `"time"`, `time.Second`, ""},
		{"the file system", `"path/filepath"`, `filepath.Abs("x")`, "filepath.Abs"},
	} {
		f := parse(t, "planted.go", "package p\nimport "+c.imports+"\nvar _ = "+c.body+"\n")
		got := strings.Join(f.impurities(names), "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
