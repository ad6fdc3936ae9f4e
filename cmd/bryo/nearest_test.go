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
		{"--nothing", ""},
		{strings.Repeat("run", 1000), ""},
	} {
		if got := nearest(row.text, names()); got != row.want {
			t.Errorf("%q: %q, want %q", row.text, got, row.want)
		}
	}
}
