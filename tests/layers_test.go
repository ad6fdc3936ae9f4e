// Package tests holds the tests of the whole tree. This file is the
// architecture: four tables, and what checks them.
package tests

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "bryo"

// layer is a package and the floor it stands on. It may import packages of
// lower floors, and none of its own.
type layer struct {
	pkg   string // below the module
	floor float64
	not   []string // packages below that it may not import all the same
	users []string // if set, the only packages that may import it
	only  []string // if set, the only modules outside the standard library that it may import
}

// floors has every package of the tree; what is below tests may import all.
func floors() []layer {
	ends := []string{"cmd/bryo-net", "cmd/bryo-image"}
	images := []string{"fsroot/shelf", "fsroot/pack", "cmd/bryo-image"}
	return []layer{
		{pkg: "rootless/program", floor: 0, only: []string{"golang.org/x/sys"}},

		{pkg: "idmap", floor: 1},
		{pkg: "netslirp", floor: 1},
		{pkg: "rootless/ns", floor: 1},
		{pkg: "rootless/cgroup", floor: 1},
		{pkg: "rootless/logs", floor: 1, only: []string{"golang.org/x/sys"}},
		{pkg: "rootless/tty", floor: 1},

		{pkg: "fsroot/owner", floor: 1, only: []string{"golang.org/x/sys"}},

		{pkg: "fsroot", floor: 2},
		{pkg: "fsroot/order", floor: 2, only: []string{}},
		{pkg: "rootless/confine", floor: 2},

		{pkg: "netslirp/loop", floor: 2.25, users: []string{"netslirp/stack", "netslirp/ports", "cmd/bryo-net"}},

		{pkg: "netslirp/stack", floor: 2.5, users: ends},
		{pkg: "netslirp/dns", floor: 2.5, users: ends},
		{pkg: "netslirp/ports", floor: 2.5, users: ends},
		{pkg: "netslirp/peers", floor: 2.5, users: ends},
		{pkg: "fsroot/unpack", floor: 2.5, users: images},
		{pkg: "fsroot/shelf", floor: 2.6, users: ends},
		{pkg: "fsroot/registry", floor: 2.5, users: []string{"cmd/bryo-image"}},
		{pkg: "fsroot/pack", floor: 2.6, users: ends},

		{pkg: "fsroot/tree", floor: 2.25, users: append(images, "cmd/bryo", "fsroot/unpack"), only: []string{"golang.org/x/sys"}},
		{pkg: "fsroot/fetch", floor: 2.25, users: []string{"cmd/bryo", "cmd/bryo-image", "fsroot/registry"}, only: []string{}},
		{pkg: "fsroot/image", floor: 2.25, users: append(images, "cmd/bryo", "fsroot/unpack", "rootless", "rootless/host", "fsroot/registry"), only: []string{"golang.org/x/sys"}},

		{pkg: "rootless/squash", floor: 2, users: []string{"cmd/bryo", "rootless/launch"}, only: []string{"golang.org/x/sys"}},

		{pkg: "rootless", floor: 3},

		{pkg: "rootless/host", floor: 4},
		{pkg: "rootless/state", floor: 4},
		{pkg: "rootless/oci", floor: 4},
		{pkg: "rootless/procfs", floor: 4, users: []string{"cmd/bryo"}},

		{pkg: "rootless/launch", floor: 5, not: []string{"rootless/oci"}},

		{pkg: "rootless/monitor", floor: 5.5, users: []string{"cmd/bryo"}},

		{pkg: "cmd/bryo", floor: 6},
		{pkg: "cmd/bryo-oci", floor: 6},
		{pkg: "cmd/bryo-net", floor: 6},
		{pkg: "cmd/bryo-image", floor: 6},
		{pkg: "cmd/bryo-cgroup", floor: 6},
	}
}

// confined is an import that only some files may have.
type confined struct {
	what  string   // an import path, with all below it
	files []string // patterns of path.Match
}

func confinements() []confined {
	return []confined{
		{"github.com/spf13/pflag", []string{"cmd/*/*.go"}},
		{"github.com/rootless-containers/rootlesskit", []string{"idmap/*.go", "netslirp/ports/*.go", "cmd/*/*.go"}},
		{"github.com/godbus/dbus", []string{"cmd/bryo-cgroup/*.go"}},
		{"unsafe", []string{"rootless/program/*.go", "netslirp/stack/calls.go", "netslirp/loop/calls.go", "rootless/squash/calls.go", "rootless/confine/self.go"}},
	}
}

// unlinked is, for each executable, what it must not carry: the first two start
// for every container, and package init is paid by every start.
func unlinked() map[string][]string {
	return map[string][]string{
		"cmd/bryo":       {"net/http", "gvisor.dev/gvisor", "github.com/opencontainers/runtime-spec", "github.com/godbus/dbus"},
		"cmd/bryo-oci":   {"net/http", "gvisor.dev/gvisor", "github.com/godbus/dbus"},
		"cmd/bryo-image": {"gvisor.dev/gvisor"},
	}
}

// pure has the files that decide and do nothing else, as patterns of path.Match.
func pure() []string {
	return []string{
		"idmap/idmap.go",
		"idmap/choose.go",
		"netslirp/config.go",
		"netslirp/policy.go",
		"netslirp/forward.go",
		"netslirp/reserved.go",
		"netslirp/resolv.go",
		"netslirp/rate.go",
		"fsroot/plan.go",
		"fsroot/mount.go",
		"fsroot/standard.go",
		"rootless/*.go",
		"rootless/ns/*.go",
		"rootless/cgroup/limits.go",
		"rootless/cgroup/plan.go",
		"rootless/logs/entry.go",
		"rootless/logs/encode.go",
		"rootless/confine/caps.go",
		"rootless/confine/landlock.go",
		"rootless/confine/seccomp*.go",
		"rootless/launch/compile*.go",
		"rootless/procfs/status.go",
		"rootless/procfs/weaker.go",
	}
}

// kernel is, for the packages that call into it, what a pure file may use beside
// constants and types: arithmetic and names.
func kernel() map[string][]string {
	return map[string][]string{
		"golang.org/x/sys/unix": {"Mkdev", "Major", "Minor", "ErrnoName", "SignalName", "SignalNum"},
		"syscall":               {},
	}
}

// impure are the functions with effects in packages that are pure otherwise.
func impure() map[string][]string {
	return map[string][]string{
		"path/filepath": {"Abs", "EvalSymlinks", "Glob", "Walk", "WalkDir"},
		"time":          {"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker"},
	}
}

func TestFloors(t *testing.T) {
	for _, f := range sources(t, "..") {
		for _, imported := range f.imports() {
			if fault := floorFault(path.Dir(f.name), imported); fault != "" {
				t.Errorf("%s: %s", f.name, fault)
			}
		}
		if !known(path.Dir(f.name)) {
			t.Errorf("%s: package %s stands on no floor, see floors", f.name, path.Dir(f.name))
		}
	}
}

func TestConfinedImports(t *testing.T) {
	for _, f := range sources(t, "..") {
		for _, imported := range f.imports() {
			if fault := confinedFault(f.name, imported); fault != "" {
				t.Errorf("%s: %s", f.name, fault)
			}
		}
	}
}

func TestExecutablesStaySlim(t *testing.T) {
	for _, executable := range slices.Sorted(maps.Keys(unlinked())) {
		if _, err := os.Stat(filepath.Join("..", executable, "main.go")); err != nil {
			continue // not written yet
		}
		imports := linked(t, "./"+executable)
		for _, banned := range unlinked()[executable] {
			if chain := chainTo(imports, module+"/"+executable, banned); chain != nil {
				t.Errorf("%s links %s: %s", executable, banned, strings.Join(chain, " -> "))
			}
		}
	}
}

func TestPureFiles(t *testing.T) {
	names := map[string]map[string]bool{}
	for pkg := range kernel() {
		names[pkg] = effects(t, pkg)
	}
	files := sources(t, "..")
	for _, pattern := range pure() {
		matched, written := false, false
		for _, f := range files {
			written = written || path.Dir(f.name) == path.Dir(pattern)
			if ok, _ := path.Match(pattern, f.name); !ok {
				continue
			}
			matched = true
			for _, fault := range f.impurities(names) {
				t.Errorf("%s: %s", f.name, fault)
			}
		}
		if written && !matched {
			t.Errorf("%s is in the table of pure files and matches none", pattern)
		}
	}
}

// file is a parsed source file that is part of the program on some machine.
type file struct {
	name string // below the module's root
	tree *ast.File
	set  *token.FileSet
}

// sources reads the files rather than asking go list, to see those of every
// architecture. Tests and generators are no part of the program.
func sources(t *testing.T, root string) []file {
	t.Helper()
	found := []file{}
	for _, name := range tracked(t, root) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("//go:build ignore\n")) {
			continue
		}
		found = append(found, parse(t, name, string(text)))
	}
	return found
}

func parse(t *testing.T, name, text string) file {
	t.Helper()
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file{name, tree, set}
}

func (f file) imports() []string {
	paths := []string{}
	for _, spec := range f.tree.Imports {
		paths = append(paths, importPath(spec))
	}
	return paths
}

func importPath(spec *ast.ImportSpec) string {
	unquoted, _ := strconv.Unquote(spec.Path.Value) // the parser has seen to it
	return unquoted
}

func known(pkg string) bool {
	_, ok := standing(pkg)
	return ok
}

// standing returns a package's layer; what is below tests stands on top.
func standing(pkg string) (layer, bool) {
	if within(pkg, "tests") {
		return layer{pkg: pkg, floor: 7}, true
	}
	i := slices.IndexFunc(floors(), func(l layer) bool { return l.pkg == pkg })
	if i < 0 {
		return layer{}, false
	}
	return floors()[i], true
}

// floorFault says what is wrong with a package importing a path, or nothing.
func floorFault(pkg, imported string) string {
	from, ok := standing(pkg)
	if !ok {
		return ""
	}
	if !within(imported, module) {
		return outsideFault(from, imported)
	}
	imported = strings.TrimPrefix(imported, module+"/")
	to, ok := standing(imported)
	switch {
	case !ok:
		return fmt.Sprintf("imported package %s stands on no floor, see floors", imported)
	case within(pkg, "tests"):
		return ""
	case to.floor > from.floor:
		return fmt.Sprintf("upward import of %s: floor %v from floor %v", imported, to.floor, from.floor)
	case to.floor == from.floor:
		return fmt.Sprintf("sideways import of %s on floor %v", imported, to.floor)
	case slices.Contains(from.not, imported):
		return fmt.Sprintf("%s may not import %s", pkg, imported)
	case to.users != nil && !slices.Contains(to.users, pkg):
		return fmt.Sprintf("%s is for %s only", imported, strings.Join(to.users, " and "))
	}
	return ""
}

func outsideFault(from layer, imported string) string {
	inside := func(m string) bool { return within(imported, m) }
	first, _, _ := strings.Cut(imported, "/")
	standard := !strings.Contains(first, ".")
	if from.only == nil || standard || slices.ContainsFunc(from.only, inside) {
		return ""
	}
	return fmt.Sprintf("%s may import %s only, not %s", from.pkg, strings.Join(from.only, " "), imported)
}

// confinedFault says what is wrong with a file importing a path, or nothing.
func confinedFault(name, imported string) string {
	for _, c := range confinements() {
		inside := func(pattern string) bool {
			ok, _ := path.Match(pattern, name)
			return ok
		}
		if within(imported, c.what) && !within(name, "tests") && !slices.ContainsFunc(c.files, inside) {
			return fmt.Sprintf("import of %s, which is for %s only", imported, strings.Join(c.files, " "))
		}
	}
	return ""
}

// within holds for a path and what is below it.
func within(name, parent string) bool {
	return name == parent || strings.HasPrefix(name, parent+"/")
}

// impurities returns what a file that must be pure does beside deciding. names
// has the functions and variables of the packages that call into the kernel.
func (f file) impurities(names map[string]map[string]bool) []string {
	faults := []string{}
	local := map[string]string{} // a package's name in this file -> its path
	for _, spec := range f.tree.Imports {
		imported := importPath(spec)
		if effectful(imported) {
			faults = append(faults, "pure, and imports "+imported)
		}
		local[path.Base(imported)] = imported
		if spec.Name != nil {
			local[spec.Name.Name] = imported
		}
		if spec.Name != nil && spec.Name.Name == "." {
			faults = append(faults, "pure, and takes in the names of "+imported)
		}
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		pkg, name := local[x.Name], selector.Sel.Name
		calls := names[pkg][name] && !slices.Contains(kernel()[pkg], name)
		if calls || slices.Contains(impure()[pkg], name) {
			faults = append(faults, fmt.Sprintf("pure, and uses %s.%s in line %d", x.Name, name, f.set.Position(n.Pos()).Line))
		}
		return true
	})
	return faults
}

// effectful holds for packages that are there to act on the machine.
func effectful(imported string) bool {
	if imported == "net/netip" {
		return false
	}
	first, _, _ := strings.Cut(imported, "/")
	return slices.Contains([]string{"os", "net", "unsafe", "plugin", "C"}, first) || imported == "io/ioutil"
}

// effects returns the functions and variables that a package exports.
func effects(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	lines := strings.Fields(list(t, "-f", `{{.Dir}}{{range .GoFiles}} {{.}}{{end}}`, pkg))
	names := map[string]bool{}
	for _, name := range lines[1:] {
		text, err := os.ReadFile(filepath.Join(lines[0], name))
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parse(t, name, string(text)).tree.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				names[d.Name.Name] = names[d.Name.Name] || d.Recv == nil
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if values, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						for _, ident := range values.Names {
							names[ident.Name] = true
						}
					}
				}
			}
		}
	}
	return names
}

// linked returns the packages of an executable with what each imports.
func linked(t *testing.T, executable string) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	for line := range strings.Lines(list(t, "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, executable)) {
		words := strings.Fields(line)
		imports[words[0]] = words[1:]
	}
	return imports
}

// chainTo returns the shortest way of imports to a package, or to one below it.
func chainTo(imports map[string][]string, from, banned string) []string {
	ways := [][]string{{from}}
	seen := map[string]bool{from: true}
	for len(ways) > 0 {
		way := ways[0]
		ways = ways[1:]
		end := way[len(way)-1]
		if within(end, banned) {
			return way
		}
		for _, next := range imports[end] {
			if !seen[next] {
				seen[next] = true
				ways = append(ways, append(slices.Clone(way), next))
			}
		}
	}
	return nil
}

func list(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return string(out)
}
