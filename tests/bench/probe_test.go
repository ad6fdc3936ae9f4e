package main

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

func TestParseGiven(t *testing.T) {
	host := map[string]string{"net": "net:[1]", "user": "user:[2]", "uts": "uts:[3]"}
	for _, test := range []struct {
		name, printed string
		want          given
		fault         string
	}{
		{"all", "begin\nns net net:[7]\nns user user:[8]\nns uts uts:[3]\nns time\n" +
			"ids          0       1001          1\nids          1     100000      65536\n" +
			"NoNewPrivs\t1\nSeccomp\t2\nCapEff\t0000000000000003\nmount 1 2 0:3 / / rw - tmpfs none rw\nend\n", given{
			Own: []string{"net", "user"}, IDs: 65537, NoNewPrivs: true, Seccomp: true, Caps: 2,
			Mounts: []string{"1 2 0:3 / / rw - tmpfs none rw"},
		}, ""},
		{"what a tool itself prints is no matter", "warning: hm\nbegin\nend\n", given{}, ""},
		{"cut off", "begin\n", given{}, "no end"},
		{"ids that are none", "ids 1 2\nend\n", given{}, "not three numbers"},
		{"a count that is none", "ids 1 2 x\nend\n", given{}, "invalid syntax"},
		{"capabilities that are none", "CapEff\tx\nend\n", given{}, "invalid syntax"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseGiven([]byte(test.printed), host)
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("%v, want an error with %q", err, test.fault)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// On the host itself nothing is own, and there is something of all the rest.
func TestProbeScript(t *testing.T) {
	text, err := exec.Command("/bin/sh", "-c", probeScript()).Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseGiven(text, hostNamespaces())
	if err != nil || len(got.Own) != 0 || got.IDs == 0 || len(got.Mounts) == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGivenFaults(t *testing.T) {
	good := given{Own: []string{"mnt", "net", "pid", "user"}, IDs: 1}
	for _, test := range []struct {
		name   string
		change func(*given)
		all    bool
		want   string
	}{
		{"good", func(*given) {}, false, ""},
		{"good, all ids", func(g *given) { g.IDs = 65536 }, true, ""},
		{"the host's network", func(g *given) { g.Own = []string{"mnt", "pid", "user"} }, false, "net"},
		{"one id for all", func(*given) {}, true, "1 user ids"},
		{"all ids for one", func(g *given) { g.IDs = 65536 }, false, "65536 user ids"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := good
			test.change(&g)
			if got := g.fault(test.all); (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
