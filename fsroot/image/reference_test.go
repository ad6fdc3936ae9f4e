package image

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"debian":                            "docker.io/library/debian:latest",
		"debian:12":                         "docker.io/library/debian:12",
		"team/web":                          "docker.io/team/web:latest",
		"docker.io/debian":                  "docker.io/library/debian:latest",
		"index.docker.io/debian":            "docker.io/library/debian:latest",
		"localhost/x":                       "localhost/x:latest",
		"localhost:5000/x/y:1":              "localhost:5000/x/y:1",
		"quay.io/a/b_c.d--e/f__g":           "quay.io/a/b_c.d--e/f__g:latest",
		"[::1]:5000/x":                      "[::1]:5000/x:latest",
		"Example/x":                         "Example/x:latest",
		"a-b-a":                             "docker.io/library/a-b-a:latest",
		"debian@sha256:" + sum:              "docker.io/library/debian@sha256:" + sum,
		"debian:12@sha256:" + sum:           "docker.io/library/debian:12@sha256:" + sum,
		"example.org/x@sha512:" + sum + sum: "example.org/x@sha512:" + sum + sum,
		"x:Tag_1.2-3":                       "docker.io/library/x:Tag_1.2-3",
	} {
		r, err := Parse(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: %v, %v", text, r, err)
			continue
		}
		if again, err := Parse(want); err != nil || again != r {
			t.Errorf("%s is not its own name: %v, %v", want, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", ":", "@", "/", "x/", "/x", "a//b", "Debian", "debian:", "debian:-x", "debian:a/b", "..", "../x", "a/../b", "a/./b",
		"-x", "x-", "x_", "a___b", "a..b", "a-_b", "x y", "x\n", "x@sha256:1", "x@md5:" + strings.Repeat("0", 32),
		"x@sha256:" + strings.Repeat("A", 64), strings.Repeat("x", 256), "x:" + strings.Repeat("y", 129),
		"-a.b/x", "a.b:/x", "a.b:5x/x", "[::1/x", "[]/x", "[::1]x/x", "[::1]:/x", "ä", "example.org/",
		"docker://debian", "https://example.org/x", "containers-storage:web", "docker-daemon:web:1",
	} {
		if r, err := Parse(text); err == nil {
			t.Errorf("%q is taken for %s", text, r)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"debian", "localhost:5000/x:1@sha256:" + strings.Repeat("0", 64), "[::1]:5/x", "a..b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(r.String()); err != nil || again != r {
			t.Errorf("%q: %#v becomes %#v, %v", text, r, again, err)
		}
	})
}

// What is shown of a name is enough to find it again.
func TestFamiliar(t *testing.T) {
	for full, want := range map[string]string{
		"docker.io/library/debian:latest":  "debian:latest",
		"docker.io/team/web:1":             "docker.io/team/web:1",
		"localhost/web:latest":             "web:latest",
		"registry.example:5000/team/web:1": "registry.example:5000/team/web:1",
	} {
		got := Familiar(full)
		if got != want {
			t.Errorf("%s: %s, want %s", full, got, want)
		}
		if !slices.ContainsFunc(candidates(got), func(r Reference) bool { return r.String() == full }) {
			t.Errorf("%s does not lead back to %s", got, full)
		}
	}
}
