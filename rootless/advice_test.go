package rootless

import "testing"

func TestShellWord(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"root", "root"},
		{"/a/b-c_d.e:f", "/a/b-c_d.e:f"},
		{"", "''"},
		{"odd name:x", "'odd name:x'"},
		{"it's", `'it'\''s'`},
		{"$(id)", "'$(id)'"},
		{"~x", "'~x'"},
		{"a\nb", "'a\nb'"},
		{"möös", "'möös'"},
	} {
		if got := shellWord(row.text); got != row.want {
			t.Errorf("%q: %s, want %s", row.text, got, row.want)
		}
	}
}

func TestMountFlag(t *testing.T) {
	for _, row := range []struct{ source, want string }{
		{"src", "-v src:/src"},
		{"my src", "-v 'my src:/src'"},
		{"odd name:x", "--mount 'type=bind,src=odd name:x,dst=/src'"},
	} {
		if got := mountFlag(row.source); got != row.want {
			t.Errorf("%q: %s, want %s", row.source, got, row.want)
		}
	}
}
