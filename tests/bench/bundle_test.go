package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseMap(t *testing.T) {
	const own = 1001
	for _, test := range []struct {
		name, text string
		want       []extent
	}{
		{"nothing", "", []extent{{0, own, 1}}},
		{"by name", "other:1:5\nann:100000:65536\n", []extent{{0, own, 1}, {1, 100000, 65536}}},
		{"by id, two ranges", "1001:100000:10\n1001:300000:20\n", []extent{{0, own, 1}, {1, 100000, 10}, {11, 300000, 20}}},
		{"nonsense", "ann:x:10\nann:10\nann:5:0\n# ann\n", []extent{{0, own, 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := parseMap(test.text, "ann", own, own); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestAdapt(t *testing.T) {
	const written = `{
		"process": {"terminal": true, "args": ["sh"], "cwd": "/"},
		"root": {"path": "rootfs", "readonly": true},
		"mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/sys", "type": "none", "options": ["rbind"]}],
		"linux": {"namespaces": [{"type": "pid"}], "resources": {}, "maskedPaths": ["/proc/keys"]}
	}`
	m := maps{[]extent{{0, 5, 1}}, []extent{{0, 6, 1}}}
	text, err := adapt([]byte(written), "/r", m, truePayload())
	if err != nil {
		t.Fatal(err)
	}
	got := struct {
		Process struct {
			Terminal bool
			Args     []string
			Cwd      string
		}
		Root   struct{ Path string }
		Mounts []struct{ Destination, Type string }
		Linux  struct {
			UIDMappings, GIDMappings []extent
			Namespaces               []struct{ Type string }
			Resources                *struct{}
			MaskedPaths              []string
		}
	}{}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"terminal":   !got.Process.Terminal,
		"args":       reflect.DeepEqual(got.Process.Args, []string{"/bin/true"}),
		"cwd":        got.Process.Cwd == "/",
		"root":       got.Root.Path == "/r",
		"proc":       got.Mounts[0].Type == "proc",
		"sys":        got.Mounts[1].Type == "sysfs",
		"uids":       reflect.DeepEqual(got.Linux.UIDMappings, m.uids),
		"gids":       reflect.DeepEqual(got.Linux.GIDMappings, m.gids),
		"namespaces": len(got.Linux.Namespaces) == 7,
		"resources":  got.Linux.Resources == nil,
		"masks":      reflect.DeepEqual(got.Linux.MaskedPaths, []string{"/proc/keys"}),
	} {
		if !ok {
			t.Errorf("%s is not as it should be:\n%s", what, text)
		}
	}
}

func TestAdaptRefuses(t *testing.T) {
	for _, text := range []string{"", "[]", "{}", `{"process": {}, "linux": {}}`} {
		if _, err := adapt([]byte(text), "/r", maps{}, truePayload()); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestComplaints(t *testing.T) {
	for printed, want := range map[string]string{
		"":                                     "",
		"\n  crun: no cgroup \nmore\n":         "crun: no cgroup",
		"time=1 level=warning msg=x\nError: y": "Error: y",
		"time=1 level=warning msg=x\n":         "time=1 level=warning msg=x",
	} {
		if got := complaint(printed); got != want {
			t.Errorf("%q: %q, want %q", printed, got, want)
		}
	}
	if !strings.HasSuffix(told(errNo(t), "why\n").Error(), ": why") {
		t.Error("the tool's words are lost")
	}
}

func errNo(t *testing.T) error {
	t.Helper()
	_, _, err := likewise([]string{"no mount"}, "", nil)
	return err
}
