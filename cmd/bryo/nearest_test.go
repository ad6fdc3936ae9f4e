package main

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"rnu", "run"},
		{"runn", "run"},
		{"rn", ""},
		{"RUN", ""},
		{"exce", "exec"},
		{"stat", "stats"},
		{"strt", "start"},
		{"inspekt", "inspect"},
		{"versino", "version"},
		{"ls", ""},
		{"c", ""},
		{"", ""},
		{"volumes", ""},
		{"push", ""}, // and not pause
		{"init", ""},
		{"--nothing", ""},
		{strings.Repeat("run", 1000), ""},
	} {
		if got := nearest(row.text, names()); got != row.want {
			t.Errorf("%q: %q, want %q", row.text, got, row.want)
		}
	}
}

// What is told instead of a command that is not there has to be there.
func TestHabits(t *testing.T) {
	for word, fix := range otherVerbs() {
		if _, found := lookup(word); found {
			t.Errorf("%s is a command", word)
		}
		if rest, is := strings.CutPrefix(fix, "bryo "); is {
			verb, _, _ := strings.Cut(rest, " ")
			if _, found := lookup(strings.Trim(verb, ",;")); !found {
				t.Errorf("%s: %q names no command", word, fix)
			}
		}
	}
	for _, row := range []struct{ verb, flag, want string }{
		{"run", "tls-verify", "bryo pull --tls-verify=false IMAGE first, then bryo run IMAGE"},
		{"explain", "gpus", "--device"},
		{"rmi", "a", "bryo prune --images --all"},
		{"images", "format", "--json"},
		{"ps", "format", "--json"},
		{"logs", "format", ""},
		{"run", "moss", ""},
	} {
		if got := otherFlag(row.verb, row.flag); got != row.want {
			t.Errorf("%s --%s: %q, want %q", row.verb, row.flag, got, row.want)
		}
	}
}
