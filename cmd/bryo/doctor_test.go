package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/program"
)

func TestFindingsJSON(t *testing.T) {
	in := []host.Finding{
		{ID: "plain", Topic: "ids", Level: host.OK, Cause: "works"},
		{ID: "odd", Topic: "home", Level: host.Degraded, Cause: "a \"b\" \\ \t\n\r\x00\x1b é \U0001f33f \x7f </script>", Fix: "x\xffy", Script: "echo 'a'\necho \"b\"\n", Seen: "\u2028"},
	}
	for n, status := range []string{"usable", "usable", "degraded"} {
		var got struct {
			Status   string
			Findings []struct{ ID, Topic, Level, Cause, Fix, Script, Seen string }
		}
		text, err := findingsJSON(in[:n])
		if err == nil {
			err = json.Unmarshal([]byte(text), &got)
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		if got.Status != status || len(got.Findings) != n {
			t.Fatalf("status %q, %d findings", got.Status, len(got.Findings))
		}
		for i, f := range got.Findings {
			valid := func(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
			want := host.Finding{ID: f.ID, Topic: f.Topic, Level: in[i].Level, Cause: valid(in[i].Cause), Fix: valid(in[i].Fix), Script: in[i].Script, Seen: in[i].Seen}
			have := host.Finding{ID: f.ID, Topic: f.Topic, Level: in[i].Level, Cause: f.Cause, Fix: f.Fix, Script: f.Script, Seen: f.Seen}
			if have != want || f.Level != in[i].Level.String() {
				t.Errorf("got %+v, want %+v", have, want)
			}
		}
	}
}

func TestFindingsText(t *testing.T) {
	got := findingsText([]host.Finding{
		{ID: "a", Topic: "userns", Level: host.OK, Cause: "works"},
		{ID: "b", Topic: "ids", Level: host.Degraded, Cause: "why", Fix: "how", Script: "x\n"},
	})
	want := `ok        userns   works
degraded  ids      why
                   fix: how

Degraded: bryo starts containers here, but not with everything.
For the administrator: bryo doctor --fix-script
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for level, word := range map[host.Level]string{host.OK: "Usable", host.Note: "Usable", host.Degraded: "Degraded", host.Unusable: "Unusable"} {
		if !strings.HasPrefix(verdict(level), word+":") {
			t.Errorf("verdict of %s: %s", level, verdict(level))
		}
	}
}

func TestParseDoctor(t *testing.T) {
	for line, want := range map[string]string{
		"":                    "",
		"--json":              "",
		"--fix-script":        "",
		"ids":                 "",
		"--json ids":          "",
		"ids --json":          "",
		"nonsense":            "no topic \"nonsense\"",
		"ids userns":          "more than one",
		"--json --fix-script": "exclude each other",
		"--yes":               "unknown flag",
	} {
		_, err := parseDoctor(strings.Fields(line), streams{})
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", line, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

func TestTopicOfAnError(t *testing.T) {
	step := func(step string, errno unix.Errno) error {
		return &launch.StepError{Failure: program.Failure{Step: step, Errno: program.Errno(errno)}}
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&program.CloneError{Errno: unix.EPERM}, "userns"},
		{fmt.Errorf("wrapped: %w", &program.CloneError{Errno: unix.ENOSPC}), "userns"},
		{&launch.HelperError{Tool: "/usr/bin/newuidmap", Status: 1}, "ids"},
		{step("mount /proc", unix.EPERM), "proc"},
		{step("map ids", unix.EACCES), "userns"},
		{step("open /srv/root", unix.ENOENT), ""},
		{unix.EPERM, ""},
	} {
		if got := topicOf(c.err); got != c.want {
			t.Errorf("%v: topic %q, want %q", c.err, got, c.want)
		}
	}
}
