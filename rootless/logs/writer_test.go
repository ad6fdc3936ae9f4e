package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noon is the time of most entries.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 5e8, time.UTC) }

func openDir(t testing.TB, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func open(t testing.TB, dir int, o Options) *Writer {
	t.Helper()
	w, err := Open(dir, o)
	must(t, err)
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func content(t testing.TB, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	must(t, err)
	return string(text)
}

// said is what each stream has said by a log.
func said(t testing.TB, dir int, o ReadOptions) [streams]string {
	t.Helper()
	var all [streams]strings.Builder
	must(t, Read(dir, o, func(e Entry) error {
		all[e.Stream].Write(e.Data)
		return nil
	}))
	return [streams]string{all[Stdout].String(), all[Stderr].String(), all[Bryo].String()}
}

func everything() ReadOptions { return ReadOptions{Tail: -1} }

func TestEntriesInTheFile(t *testing.T) {
	long := strings.Repeat("x", lineMax)
	for _, row := range []struct {
		name        string
		chunks      []string // of stdout, but of stderr after "2>"
		json, plain string   // without the time; S and E stand for the beginning
	}{
		{"a line", []string{"text\n"}, "S\"log\":\"text\\n\"}\n", "S F text\n"},
		{"an empty line", []string{"\n"}, "S\"log\":\"\\n\"}\n", "S F \n"},
		{"lines of a chunk", []string{"a\nb\n"}, "S\"log\":\"a\\n\"}\nS\"log\":\"b\\n\"}\n", "S F a\nS F b\n"},
		{"chunks of a line", []string{"te", "x", "t\n"}, "S\"log\":\"text\\n\"}\n", "S F text\n"},
		{"streams in turn", []string{"o", "2>e", "o\n", "2>e\n"}, "S\"log\":\"oo\\n\"}\nE\"log\":\"ee\\n\"}\n", "S F oo\nE F ee\n"},
		{"not finished", []string{"text"}, "S\"log\":\"text\",\"partial\":true}\n", "S P text\n"},
		{"to escape", []string{"\x00\"\\\r\t\x1b\x7f\n"}, "S\"log\":\"\\u0000\\\"\\\\\\r\\t\\u001b\x7f\\n\"}\n", "S F \x00\"\\\r\t\x1b\x7f\n"},
		{"no UTF-8", []string{"\xff\xfe"}, "S\"log64\":\"//4=\",\"partial\":true}\n", "S P \xff\xfe\n"},
		{"UTF-8", []string{"häß\u2028\n"}, "S\"log\":\"häß\u2028\\n\"}\n", "S F häß\u2028\n"},
		{"as long as can be", []string{long[1:] + "\n"}, "S\"log\":\"" + long[1:] + "\\n\"}\n", "S F " + long[1:] + "\n"},
		{
			"too long",
			[]string{long + "y\n"},
			"S\"log\":\"" + long + "\",\"partial\":true}\nS\"log\":\"y\\n\"}\n", "S P " + long + "\nS F y\n",
		},
		{
			"too long, in the middle of a rune",
			[]string{long[1:] + "ä\n"},
			"S\"log\":\"" + long[1:] + "\",\"partial\":true}\nS\"log\":\"ä\\n\"}\n", "S P " + long[1:] + "\nS F ä\n",
		},
	} {
		for _, format := range []Format{JSON, Plain} {
			path := t.TempDir()
			w := open(t, openDir(t, path), Options{Format: format})
			for _, chunk := range row.chunks {
				text, stderr := strings.CutPrefix(chunk, "2>")
				stream := Stdout
				if stderr {
					stream = Stderr
				}
				must(t, w.Write(stream, noon(), []byte(text)))
			}
			must(t, w.Flush(noon()))
			begin, want := "{\"time\":\"2026-01-02T12:00:00.5Z\",\"stream\":\"%s\",", row.json
			if format == Plain {
				begin, want = "2026-01-02T12:00:00.5Z %s", row.plain
			}
			want = strings.NewReplacer("S", fmt.Sprintf(begin, "stdout"), "E", fmt.Sprintf(begin, "stderr")).Replace(want)
			if got := content(t, path, "log"); got != want {
				t.Errorf("%s: %q, want %q", row.name, got, want)
			}
			for line := range strings.Lines(want) {
				if format == JSON && !json.Valid([]byte(line)) {
					t.Errorf("%s: no JSON: %s", row.name, line)
				}
			}
		}
	}
}

// How the bytes are cut into chunks makes no difference.
func TestChunksMakeNoDifference(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		data := noise(random, 100_000)
		whole, pieces := t.TempDir(), t.TempDir()
		one, many := open(t, openDir(t, whole), Options{}), open(t, openDir(t, pieces), Options{})
		must(t, one.Write(Stdout, noon(), data))
		must(t, one.Flush(noon()))
		for len(data) > 0 {
			n := min(len(data), 1+random.IntN(1<<random.IntN(17)))
			must(t, many.Write(Stdout, noon(), data[:n]))
			data = data[n:]
		}
		must(t, many.Flush(noon()))
		if content(t, whole, "log") != content(t, pieces, "log") {
			t.Fatal("the logs differ")
		}
	}
}

// noise is text of all kinds.
func noise(random *rand.Rand, n int) []byte {
	data := make([]byte, 0, n+50_000)
	for len(data) < n {
		switch random.IntN(8) {
		case 0:
			data = append(data, '\n')
		case 1:
			data = append(data, byte(random.Uint32()))
		case 2:
			data = append(data, "日本語 ä\x1b[0m\r\n"...)
		case 3:
			data = append(data, bytes.Repeat([]byte("ö"), random.IntN(20_000))...)
		default:
			data = append(data, strings.Repeat("words and ", random.IntN(10))...)
		}
	}
	return data
}

func TestABatchIsOneWrite(t *testing.T) {
	path := t.TempDir()
	w := open(t, openDir(t, path), Options{})
	before := writes(t)
	must(t, w.Write(Stdout, noon(), bytes.Repeat([]byte("line\n"), 500)))
	if n := writes(t) - before; n != 1 {
		t.Errorf("%d write calls", n)
	}
	before = writes(t)
	must(t, w.Write(Stdout, noon(), []byte("unfinished")))
	if n := writes(t) - before; n != 0 {
		t.Errorf("%d write calls for nothing that is finished", n)
	}
}

// writes counts the write calls of this process (proc_pid_io(5)).
func writes(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("no count of write calls: ", err)
	}
	_, after, _ := strings.Cut(string(text), "syscw: ")
	_, err = fmt.Sscan(after, &n)
	must(t, err)
	return n
}

func TestWriteMakesNoGarbage(t *testing.T) {
	w := open(t, openDir(t, t.TempDir()), Options{MaxSize: 1 << 40})
	chunk := []byte(strings.Repeat("a line of text with \"quotes\" and\tä\n\xff\n", 100) + "end")
	must(t, w.Write(Stdout, noon(), chunk))
	if n := testing.AllocsPerRun(100, func() { must(t, w.Write(Stdout, noon(), chunk)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRotation(t *testing.T) {
	for _, files := range []int{1, 2, 3, 5} {
		path := t.TempDir()
		dir := openDir(t, path)
		w := open(t, dir, Options{Format: Plain, MaxSize: 1000, MaxFiles: files})
		for i := range 200 {
			must(t, w.Write(Stdout, noon(), fmt.Appendf(nil, "line %d\n", i)))
		}
		entries, err := os.ReadDir(path)
		must(t, err)
		if len(entries) != files {
			t.Errorf("%d files, want %d", len(entries), files)
		}
		for _, e := range entries {
			info, err := e.Info()
			must(t, err)
			if info.Size() > 1000 || info.Mode() != 0o600 {
				t.Errorf("%s: %d bytes, %v", e.Name(), info.Size(), info.Mode())
			}
		}
		lines := strings.Split(strings.TrimSuffix(said(t, dir, everything())[Stdout], "\n"), "\n")
		for i, line := range lines {
			if want := fmt.Sprintf("line %d", 200-len(lines)+i); line != want {
				t.Fatalf("%d files: %q, want %q", files, line, want)
			}
		}
	}
}

func TestRotationInsideOneCall(t *testing.T) {
	dir := openDir(t, t.TempDir())
	w := open(t, dir, Options{MaxSize: 30_000, MaxFiles: 100})
	data := noise(rand.New(rand.NewPCG(3, 4)), 500_000)
	must(t, w.Write(Stderr, noon(), data))
	must(t, w.Flush(noon()))
	if got := said(t, dir, everything())[Stderr]; got != string(data) {
		t.Errorf("%d bytes come out of %d", len(got), len(data))
	}
}

// What a crash has left of a rotation is no part of the log, and an entry that
// is longer than a file has one for itself.
func TestRotationWithLeftovers(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	must(t, os.WriteFile(filepath.Join(path, upcoming), []byte(plain(1, "stdout", "F", "left over")), 0o600))
	w := open(t, dir, Options{MaxSize: 100})
	want := strings.Repeat("x", 200) + "\n"
	for n := range 3 {
		must(t, w.Write(Stdout, noon(), []byte(want)))
		files, err := filepath.Glob(filepath.Join(path, "log*"))
		must(t, err)
		if n > 0 && len(files) != n+1 {
			t.Errorf("%q", files)
		}
	}
	if got := said(t, dir, everything())[Stdout]; got != want+want+want {
		t.Errorf("%q", got)
	}
}

func TestFewerFilesThanBefore(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	for _, files := range []int{6, 2} {
		w := open(t, dir, Options{MaxSize: 100, MaxFiles: files})
		for range 10 {
			must(t, w.Write(Stdout, noon(), []byte("a line of text\n")))
		}
		entries, err := os.ReadDir(path)
		must(t, err)
		if len(entries) != files {
			t.Errorf("%d files, want %d", len(entries), files)
		}
	}
}

// Where files cannot be rotated the log grows, and says so once.
func TestFailingRotation(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	blocked := filepath.Join(path, "log.1")
	must(t, os.MkdirAll(filepath.Join(blocked, "x"), 0o700))
	w := open(t, dir, Options{MaxSize: 1000, MaxFiles: 2})
	for i := range 100 {
		must(t, w.Write(Stdout, noon(), fmt.Appendf(nil, "line %d\n", i)))
	}
	text := content(t, path, "log")
	if strings.Count(text, `"stdout"`) != 100 || strings.Count(text, "not rotated") != 1 {
		t.Errorf("%s", text)
	}
	if _, err := os.Stat(filepath.Join(path, upcoming)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", upcoming, err)
	}
	must(t, os.RemoveAll(blocked))
	for range 10 {
		must(t, w.Write(Stdout, noon(), []byte("more and more and more\n")))
	}
	if n := len(content(t, path, "log")); n > 1000 {
		t.Errorf("%d bytes, though it can be rotated again", n)
	}
}

func TestOpenEndsATornLine(t *testing.T) {
	for _, format := range []Format{JSON, Plain} {
		path := t.TempDir()
		dir := openDir(t, path)
		w := open(t, dir, Options{Format: format})
		must(t, w.Write(Stdout, noon(), []byte("one\ntwo\n")))
		text := content(t, path, "log")
		must(t, os.Truncate(filepath.Join(path, "log"), int64(len(text)-2)))
		if got := said(t, dir, everything())[Stdout]; got != "one\n" {
			t.Errorf("torn: %q", got)
		}
		w = open(t, dir, Options{Format: format})
		must(t, w.Write(Stdout, noon(), []byte("three\n")))
		want := map[Format]string{JSON: "one\nthree\n", Plain: "one\ntw\nthree\n"}[format]
		if got := said(t, dir, everything())[Stdout]; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, row := range []struct {
		name    string
		prepare func(path string) error
		options Options
	}{
		{"a fifo", func(path string) error { return unix.Mkfifo(path, 0o600) }, Options{}},
		{"a link", func(path string) error { return os.Symlink("/dev/null", path) }, Options{}},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, Options{}},
		{"a size below zero", func(string) error { return nil }, Options{MaxSize: -1}},
		{"no files", func(string) error { return nil }, Options{MaxFiles: -1}},
		{"many files", func(string) error { return nil }, Options{MaxFiles: 101}},
	} {
		path := t.TempDir()
		must(t, row.prepare(filepath.Join(path, "log")))
		if w, err := Open(openDir(t, path), row.options); err == nil {
			t.Errorf("%s: %+v", row.name, w)
		}
	}
}

func TestStateGoesOver(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	w := open(t, dir, Options{})
	if w.Pending() {
		t.Error("a new one holds something")
	}
	must(t, w.Write(Stdout, noon(), []byte("whole\nhal")))
	must(t, w.Write(Stderr, noon(), []byte("\xffx")))
	if !w.Pending() {
		t.Error("an unfinished line is not held")
	}
	text, err := json.Marshal(w.Export())
	must(t, err)
	must(t, w.Close())

	var state State
	must(t, json.Unmarshal(text, &state))
	w = open(t, dir, Options{})
	must(t, w.Import(state))
	must(t, w.Write(Stdout, noon(), []byte("f\n")))
	must(t, w.Write(Stderr, noon(), []byte("\n")))
	if w.Pending() {
		t.Errorf("holds %+v", w.Export())
	}
	if got := said(t, dir, everything()); got != [streams]string{"whole\nhalf\n", "\xffx\n", ""} {
		t.Errorf("%q", got)
	}
}

func TestImportRefuses(t *testing.T) {
	w := open(t, openDir(t, t.TempDir()), Options{})
	for _, s := range []State{
		{Stdout: []byte("a\n")},
		{Stderr: make([]byte, lineMax)},
		{Torn: []byte("x")},
		{Torn: []byte("x\ny\n")},
		{Dropped: -1},
	} {
		if err := w.Import(s); err == nil || w.Pending() {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestUnescaped(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 100_000 {
		text := make([]byte, random.IntN(40))
		for i := range text {
			text[i] = []byte("a \x1f\x20\x21\"#[\\]\x7f\x80\xff\x00\n")[random.IntN(15)]
			if random.IntN(4) > 0 {
				text[i] = 'a' + byte(random.IntN(26))
			}
		}
		want := slices.IndexFunc(text, func(c byte) bool { return c < ' ' || c == '"' || c == '\\' })
		if want < 0 {
			want = len(text)
		}
		if got := unescaped(text); got != want {
			t.Fatalf("%q: %d, want %d", text, got, want)
		}
	}
}

// BenchmarkWrite compares with the plain copy of the same bytes.
func BenchmarkWrite(b *testing.B) {
	line := "2026/01/02 12:00:00 GET /index.html 200 \"some agent\" took 12ms and 345 bytes more"
	texts := map[string]string{"short": line + "\n", "long": strings.Repeat(line, 200) + "\n"}
	for _, length := range []string{"short", "long"} {
		text := texts[length]
		chunk := bytes.Repeat([]byte(text), 65536/len(text))
		for _, format := range []Format{JSON, Plain} {
			b.Run(fmt.Sprintf("%s/%s", length, []string{"json", "plain"}[format]), func(b *testing.B) {
				w := open(b, openDir(b, b.TempDir()), Options{Format: format})
				b.SetBytes(int64(len(chunk)))
				b.ReportAllocs()
				for b.Loop() {
					must(b, w.Write(Stdout, noon(), chunk))
				}
			})
		}
		b.Run(length+"/copy", func(b *testing.B) {
			f, err := os.OpenFile(filepath.Join(b.TempDir(), "log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
			must(b, err)
			defer func() { _ = f.Close() }()
			b.SetBytes(int64(len(chunk)))
			size := 0
			for b.Loop() {
				if size += len(chunk); size > 10<<20 { // as the log is rotated
					must(b, f.Truncate(0))
					size = 0
				}
				_, err := f.Write(chunk)
				must(b, err)
			}
		})
	}
}
