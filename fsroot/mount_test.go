package fsroot

import (
	"math"
	"path"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	ro     = unix.MOUNT_ATTR_RDONLY
	nosuid = unix.MOUNT_ATTR_NOSUID
	nodev  = unix.MOUNT_ATTR_NODEV
	noexec = unix.MOUNT_ATTR_NOEXEC
	usual  = nosuid | nodev
)

func TestParseVolume(t *testing.T) {
	for value, want := range map[string]Mount{
		"/a:/b":                    {Source: "/a", Target: "/b", Attributes: usual},
		"./a:/b/":                  {Source: "./a", Target: "/b", Attributes: usual},
		".:/b//c/../d/.":           {Source: ".", Target: "/b/d", Attributes: usual},
		"a/b:/../c":                {Source: "a/b", Target: "/c", Attributes: usual},
		"/a:/b:":                   {Source: "/a", Target: "/b", Attributes: usual},
		"/a:/b:ro":                 {Source: "/a", Target: "/b", Attributes: usual | ro},
		"/a:/b:ro,rw":              {Source: "/a", Target: "/b", Attributes: usual},
		"/a:/b:rw,,readonly":       {Source: "/a", Target: "/b", Attributes: usual | ro},
		"/a:/b:suid,dev,noexec":    {Source: "/a", Target: "/b", Attributes: noexec},
		"/a:/b:exec,nosuid,nodev":  {Source: "/a", Target: "/b", Attributes: usual},
		"/a:/b:bind":               {Source: "/a", Target: "/b", Attributes: usual, Shallow: true},
		"/a:/b:rbind,rprivate":     {Source: "/a", Target: "/b", Attributes: usual},
		"/a:/b:nosymfollow":        {Source: "/a", Target: "/b", Attributes: usual | unix.MOUNT_ATTR_NOSYMFOLLOW},
		"/a:/b:O":                  {Type: Overlay, Source: "/a", Target: "/b", Attributes: usual},
		"/with blank:/two\tblanks": {Source: "/with blank", Target: "/two\tblanks", Attributes: usual},
		"/a,b:/c,d":                {Source: "/a,b", Target: "/c,d", Attributes: usual},
	} {
		if got, err := ParseVolume(value); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", value, got, err, want)
		}
	}
}

func TestParseVolumeRefuses(t *testing.T) {
	for _, row := range []struct{ value, want string }{
		{"", "write SOURCE:TARGET"},
		{"/a", "write SOURCE:TARGET"},
		{"name:/b", "write ./name:/b"},
		{"name:b", "write ./name:/b"},
		{":/b", "source is missing"},
		{"/a:", "not an absolute path"},
		{"/a:b", "not an absolute path"},
		{"/a:/", "/ is the root"},
		{"/a:/b/..", "/ is the root"},
		{"/a:/../..", "/ is the root"},
		{"/a\x00:/b", "NUL"},
		{"/a:/b\x00", "NUL"},
		{"/a:/b:RO", `option "RO"`},
		{"/a:/b:ro:rw", `option "ro:rw"`},
		{"/a:/b:ro ", `option "ro "`},
		{"/a:/b:size=5", `option "size`},
		{"/a:/b:mode=755", `option "mode`},
		{"/a:/b:z", "SELinux"},
		{"/a:/b:Z", "SELinux"},
		{"/a:/b:U", "unshare"},
		{"/a:/b:readonly=maybe", "true or false"},
		{"/a:/b:rshared", `option "rshared"`},
	} {
		if m, err := ParseVolume(row.value); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %+v, %v, want %q", row.value, m, err, row.want)
		}
	}
}

func TestParseTmpfs(t *testing.T) {
	for value, want := range map[string]Mount{
		"/t":                       {Type: Tmpfs, Target: "/t", Attributes: usual, Mode: 0o1777},
		"/t/../u/":                 {Type: Tmpfs, Target: "/u", Attributes: usual, Mode: 0o1777},
		"/t:":                      {Type: Tmpfs, Target: "/t", Attributes: usual, Mode: 0o1777},
		"/t:size=64m,mode=700":     {Type: Tmpfs, Target: "/t", Attributes: usual, Mode: 0o700, Size: 64 << 20},
		"/t:mode=0":                {Type: Tmpfs, Target: "/t", Attributes: usual},
		"/t,u":                     {Type: Tmpfs, Target: "/t,u", Attributes: usual, Mode: 0o1777},
		"/t:ro,noexec,suid,size=1": {Type: Tmpfs, Target: "/t", Attributes: nodev | ro | noexec, Mode: 0o1777, Size: 1},
	} {
		if got, err := ParseTmpfs(value); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", value, got, err, want)
		}
	}
	for _, row := range []struct{ value, want string }{
		{"", "not an absolute path"},
		{"t", "not an absolute path"},
		{"/", "/ is the root"},
		{"/t\x00", "NUL"},
		{"/t:size=0", `size "0"`},
		{"/t:size=", `size ""`},
		{"/t:mode=8", `mode "8"`},
		{"/t:mode=10000", `mode "10000"`},
		{"/t:mode=-1", `mode "-1"`},
		{"/t:O", `option "O"`},
		{"/t:uid=5", `option "uid`},
		{"/t,size=1m", "\nfix: --tmpfs /t:size=1m"},
		{"/t,ro,mode=700:size=1m", "\nfix: --tmpfs /t:ro,mode=700,size=1m"},
	} {
		if m, err := ParseTmpfs(row.value); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %+v, %v, want %q", row.value, m, err, row.want)
		}
	}
}

func TestParseMount(t *testing.T) {
	const sticky = 0o1777
	for value, want := range map[string]Mount{
		"type=bind,src=/a,dst=/b":                                {Source: "/a", Target: "/b", Attributes: usual, Mode: sticky},
		"source=a,target=/b":                                     {Source: "a", Target: "/b", Attributes: usual, Mode: sticky},
		"type=bind,src-fd=3,dst=/b":                              {Source: "/proc/self/fd/3", Target: "/b", Attributes: usual, Mode: sticky},
		"type=bind,src=/a=b,destination=/c=d,ro":                 {Source: "/a=b", Target: "/c=d", Attributes: usual | ro, Mode: sticky},
		"type=bind,src=/a:b,dst=/c:d,readonly":                   {Source: "/a:b", Target: "/c:d", Attributes: usual | ro, Mode: sticky},
		"type=bind,src=/a,dst=/b,readonly=true":                  {Source: "/a", Target: "/b", Attributes: usual | ro, Mode: sticky},
		"type=bind,src=/a,dst=/b,ro,readonly=0":                  {Source: "/a", Target: "/b", Attributes: usual, Mode: sticky},
		"type=tmpfs,dst=/t,tmpfs-size=1g,tmpfs-mode=755,nosuid":  {Type: Tmpfs, Target: "/t", Attributes: usual, Size: 1 << 30, Mode: 0o755},
		"type=tmpfs,dst=/t,size=5,mode=1":                        {Type: Tmpfs, Target: "/t", Attributes: usual, Size: 5, Mode: 1},
		"type=overlay,src=/a,dst=/b/../c,noexec":                 {Type: Overlay, Source: "/a", Target: "/c", Attributes: usual | noexec, Mode: sticky},
		"type=tmpfs,type=bind,src=/first,src=/a,dst=/b,bind,dev": {Source: "/a", Target: "/b", Attributes: nosuid, Mode: sticky, Shallow: true},
	} {
		if got, err := ParseMount(value); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", value, got, err, want)
		}
	}
	for _, row := range []struct{ value, want string }{
		{"", `option ""`},
		{"type=bind", "not an absolute path"},
		{"type=bind,dst=/b", "source is missing"},
		{"type=bind,src-fd=,dst=/b", "number of a descriptor"},
		{"type=bind,src-fd=-1,dst=/b", "number of a descriptor"},
		{"type=bind,src-fd=3/..,dst=/b", "number of a descriptor"},
		{"type=bind,src=/a", "not an absolute path"},
		{"type=overlay,dst=/b", "source is missing"},
		{"type=tmpfs,src=/a,dst=/b", "a tmpfs has no source"},
		{"type=volume,src=/a,dst=/b", "none of bind, tmpfs, overlay"},
		{"type=,src=/a,dst=/b", "none of bind, tmpfs, overlay"},
		{"type=bind,src=/a,dst=/b,tmpfs-size=5", `option "size`},
		{"type=tmpfs,dst=/b,tmpfs-size", `option "tmpfs-size"`},
		{"type=tmpfs,dst=/b,tmpfs-size=-1", `size "-1"`},
		{"type=bind,src=/a,dst=/", "/ is the root"},
		{"type=bind,src=/a,dst=/b,", `option ""`},
		{"type=bind,src=/a,dst=/b,ro=maybe", `option "ro`},
		{"type=bind,src=/a\x00,dst=/b", "NUL"},
		{"Type=bind,src=/a,dst=/b", `option "Type=bind"`},
	} {
		if m, err := ParseMount(row.value); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %+v, %v, want %q", row.value, m, err, row.want)
		}
	}
}

// The order of what is said does not matter.
func TestParseMountInAnyOrder(t *testing.T) {
	want, err := ParseMount("type=tmpfs,dst=/t,tmpfs-size=1g,tmpfs-mode=755")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseMount("tmpfs-mode=755,tmpfs-size=1g,dst=/t,type=tmpfs"); got != want || err != nil {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

// checkMount holds for every mount that a parser lets through.
func checkMount(t *testing.T, value string, m Mount) {
	t.Helper()
	switch {
	case !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || m.Target == "/":
		t.Errorf("%q: target %q", value, m.Target)
	case strings.ContainsRune(m.Source+m.Target, 0):
		t.Errorf("%q: %q has a NUL", value, m.Source+m.Target)
	case (m.Type == Tmpfs) != (m.Source == ""):
		t.Errorf("%q: %s of %q", value, m.Type, m.Source)
	case m.Mode > 0o7777 || m.Size > math.MaxInt64 || (m.Type != Tmpfs && m.Size != 0):
		t.Errorf("%q: mode %o, %s of %d bytes", value, m.Mode, m.Type, m.Size)
	case m.Attributes&^(usual|ro|noexec|unix.MOUNT_ATTR_NOSYMFOLLOW) != 0:
		t.Errorf("%q: attributes %#x", value, m.Attributes)
	}
	if _, err := Order([]Attached{{Mount: m}, {Mount: m}}); err == nil {
		t.Errorf("%q: twice", value)
	}
}

func FuzzParseVolume(f *testing.F) {
	for _, seed := range []string{"/a:/b", "./a:/b:ro,noexec", ".:/../..", "a:/b:O,readonly=1", "::", "/a:/b\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if m, err := ParseVolume(value); err == nil {
			checkMount(t, value, m)
			if !strings.HasPrefix(value, m.Source+":") {
				t.Errorf("%q: source %q", value, m.Source)
			}
		}
	})
}

func FuzzParseTmpfs(f *testing.F) {
	for _, seed := range []string{"/t", "/t:size=5k,mode=7777", "/:ro", ":", "/t:size=8388608t"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if m, err := ParseTmpfs(value); err == nil {
			checkMount(t, value, m)
		}
	})
}

func FuzzParseMount(f *testing.F) {
	for _, seed := range []string{"type=bind,src=/a,dst=/b", "type=tmpfs,dst=/t,tmpfs-size=1", "type=tmpfs,dst=/t,size=1,type=bind,src=/a", "type=bind,O,src=a,dst=/x", ","} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if m, err := ParseMount(value); err == nil {
			checkMount(t, value, m)
		}
	})
}

func TestParseSize(t *testing.T) {
	for value, want := range map[string]uint64{
		"1": 1, "1b": 1, "1k": 1 << 10, "1K": 1 << 10, "1kb": 1 << 10, "64m": 64 << 20, "2g": 2 << 30, "1T": 1 << 40, "007": 7,
		"4194304t": 1 << 62, "4611686018427387904": 1 << 62,
	} {
		if got, err := ParseSize(value); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", value, got, err, want)
		}
	}
	for _, value := range []string{
		"", "0", "0k", "-1", "+1", "k", "b", "kb", "1kk", "1.5g", "1 k", " 1", "1p", "50%", "0x10", "1_0", "1e3", "bb", "1mib",
		"4194305t", "4611686018427387905", "9223372036854775808", "18446744073709551617", "99999999999999999999k",
	} {
		if got, err := ParseSize(value); err == nil || got != 0 {
			t.Errorf("%q: %d, %v", value, got, err)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, seed := range []string{"1", "64m", "4194304t", "0", "1kb", "9223372036854775807b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		n, err := ParseSize(value)
		switch {
		case err != nil && n != 0:
			t.Errorf("%q: %d beside %v", value, n, err)
		case err == nil && (n == 0 || n > 1<<62):
			t.Errorf("%q: %d", value, n)
		case err == nil:
			if again, err := ParseSize(strconv.FormatUint(n, 10)); again != n || err != nil {
				t.Errorf("%q: %d is parsed as %d, %v", value, n, again, err)
			}
		}
	})
}

func TestParseDevice(t *testing.T) {
	for value, want := range map[string]Device{
		"/dev/fuse":              {"/dev/fuse", "/dev/fuse"},
		"/dev/fuse:rwm":          {"/dev/fuse", "/dev/fuse"},
		"/dev/a:/dev/b":          {"/dev/a", "/dev/b"},
		"/dev/a:/dev/b:r":        {"/dev/a", "/dev/b"},
		"/dev/net/tun":           {"/dev/net/tun", "/dev/net/tun"},
		"/dev//a/../b:/dev/./c/": {"/dev/b", "/dev/c"},
		"/dev/r":                 {"/dev/r", "/dev/r"},
	} {
		if got, err := ParseDevice(value); got != want || err != nil {
			t.Errorf("%q: %+v, %v, want %+v", value, got, err, want)
		}
	}
	for _, value := range []string{
		"", ":", "/dev", "/dev/", "/dev/.", "/dev/..", "dev/fuse", "fuse", "/etc/passwd", "/dev/../etc/passwd", "/dev/a:/etc/a", "/dev/a:/dev/../etc/a",
		"/dev/a:b", "/dev/a:", "/dev/a::", "/dev/a:/dev/b:x", "/dev/a:/dev/b:", "/dev/a:/dev/b:r:r", "r", "rwm", "/devil/a",
	} {
		if got, err := ParseDevice(value); err == nil || got != (Device{}) {
			t.Errorf("%q: %+v, %v", value, got, err)
		}
	}
}

func FuzzParseDevice(f *testing.F) {
	for _, seed := range []string{"/dev/fuse", "/dev/a:/dev/b:rwm", "/dev/../dev/a:m", "::", "/dev/a:r:r"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		d, err := ParseDevice(value)
		if err != nil {
			if d != (Device{}) {
				t.Errorf("%q: %+v beside %v", value, d, err)
			}
			return
		}
		for _, p := range []string{d.Source, d.Target} {
			if path.Clean(p) != p || !strings.HasPrefix(p, "/dev/") {
				t.Errorf("%q: %+v", value, d)
			}
		}
		if again, err := ParseDevice(d.Source + ":" + d.Target + ":rwm"); again != d || err != nil {
			t.Errorf("%q: %+v is parsed as %+v, %v", value, d, again, err)
		}
	})
}

// Without mount_setattr, attributes have other names.
func TestLegacyFlags(t *testing.T) {
	for attributes, want := range map[uint64]uint64{
		0: 0, ro: unix.MS_RDONLY, usual: unix.MS_NOSUID | unix.MS_NODEV, usual | ro | noexec: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
	} {
		if got := legacyFlags(attributes); got != want {
			t.Errorf("%#x: %#x, want %#x", attributes, got, want)
		}
	}
}

func TestTypesHaveNames(t *testing.T) {
	for kind, want := range map[Type]string{Bind: "bind", Tmpfs: "tmpfs", Overlay: "overlay"} {
		if got := kind.String(); got != want {
			t.Errorf("%d: %s, want %s", kind, got, want)
		}
		m := Mount{}
		if err := m.setType(want); err != nil || m.Type != kind {
			t.Errorf("%s: %d, %v", want, m.Type, err)
		}
	}
}
