package logs

import (
	"bytes"
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

const soon = 20 * time.Second

// lay writes files of a log, the latest first.
func lay(t testing.TB, files ...string) (dir int) {
	t.Helper()
	path := t.TempDir()
	for n, text := range files {
		must(t, os.WriteFile(filepath.Join(path, nameOf(n)), []byte(text), 0o600))
	}
	return openDir(t, path)
}

func minute(n int) string { return fmt.Sprintf("2026-01-02T12:%02d:00Z", n) }

func clock(n int) time.Time { return time.Date(2026, 1, 2, 12, n, 0, 0, time.UTC) }

// plain is an entry of a minute, as a line.
func plain(n int, stream, tag, text string) string {
	return fmt.Sprintf("%s %s %s %s\n", minute(n), stream, tag, text)
}

func TestReadOptions(t *testing.T) {
	oldest := plain(1, "stdout", "F", "a") + plain(2, "stderr", "F", "b") + plain(3, "stdout", "P", "c")
	older := plain(4, "stdout", "P", "d") + plain(5, "stdout", "F", "e") + plain(6, "bryo", "F", "f")
	newest := plain(7, "stderr", "F", "g") + plain(8, "stdout", "F", "h") + plain(9, "stderr", "P", "i")
	for _, row := range []struct {
		name   string
		change func(*ReadOptions)
		want   string
	}{
		{"all", func(*ReadOptions) {}, "abcdefghi"},
		{"since", func(o *ReadOptions) { o.Since = clock(5) }, "efghi"},
		{"until", func(o *ReadOptions) { o.Until = clock(5) }, "abcd"},
		{"since and until", func(o *ReadOptions) { o.Since, o.Until = clock(2), clock(4) }, "bc"},
		{"a stream", func(o *ReadOptions) { o.Streams = []Stream{Stderr} }, "bgi"},
		{"two streams", func(o *ReadOptions) { o.Streams = []Stream{Stderr, Bryo} }, "bfgi"},
		{"no tail", func(o *ReadOptions) { o.Tail = 0 }, ""},
		{"a tail of what is not finished", func(o *ReadOptions) { o.Tail = 1 }, "i"},
		{"a tail", func(o *ReadOptions) { o.Tail = 2 }, "hi"},
		{"a tail in another file", func(o *ReadOptions) { o.Tail = 4 }, "fghi"},
		{"a tail with a long line", func(o *ReadOptions) { o.Tail = 5 }, "cdefghi"},
		{"a tail of the oldest file", func(o *ReadOptions) { o.Tail = 6 }, "bcdefghi"},
		{"a tail of all", func(o *ReadOptions) { o.Tail = 7 }, "abcdefghi"},
		{"a tail of more", func(o *ReadOptions) { o.Tail = 1000 }, "abcdefghi"},
		{"a tail of a stream", func(o *ReadOptions) { o.Tail, o.Streams = 2, []Stream{Stdout} }, "cdeh"},
		{"a tail until", func(o *ReadOptions) { o.Tail, o.Until = 2, clock(7) }, "cdef"},
		{"a tail since", func(o *ReadOptions) { o.Tail, o.Since = 5, clock(8) }, "hi"},
	} {
		o := everything()
		row.change(&o)
		got := ""
		must(t, Read(lay(t, newest, older, oldest), o, func(e Entry) error {
			got += strings.TrimSuffix(string(e.Data), "\n")
			return nil
		}))
		if got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestParse(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	text := func(s string) Entry { return Entry{Time: at, Data: []byte(s)} }
	for _, row := range []struct {
		line string
		want Entry // with no data: none
	}{
		{`{"time":"2026-01-02T03:04:05.000000006Z","stream":"stdout","log":"a\n"}`, text("a\n")},
		{`{"time":"2026-01-02T04:04:05.000000006+01:00","stream":"stdout","log64":"/w=="}`, text("\xff")},
		{`{"stream":"bryo","log":"","time":"2026-01-02T03:04:05.000000006Z","more":[1],"partial":true}`, Entry{at, Bryo, true, []byte{}}},
		{`{"time":"2026-01-02T03:04:05Z","stream":"stdout"}`, Entry{}},
		{`{"time":"2026-01-02T03:04:05Z","stream":"stdout","log":"a","log64":"YQ=="}`, Entry{}},
		{`{"time":"2026-01-02T03:04:05Z","stream":"stdin","log":"a"}`, Entry{}},
		{`{"time":"yesterday","stream":"stdout","log":"a"}`, Entry{}},
		{`{"time":"2026-01-02T03:04:05Z","stream":"stdout","log":"a"`, Entry{}},
		{`{"time":"2026-01-02T03:04:05Z","stream":"stdout","log":["a"]}`, Entry{}},
		{strings.Repeat(`{"log":`, 20_000), Entry{}},
		{"2026-01-02T03:04:05.000000006Z stdout F a", text("a\n")},
		{"2026-01-02T03:04:05.000000006Z stdout F ", text("\n")},
		{"2026-01-02T03:04:05.000000006Z stderr P  \r", Entry{at, Stderr, true, []byte(" \r")}},
		{"2026-01-02T03:04:05Z stdout F", Entry{}},
		{"2026-01-02T03:04:05Z stdout X a", Entry{}},
		{"2026-01-02T03:04:05Z stdin F a", Entry{}},
		{"2026-01-02 stdout F a", Entry{}},
		{"", Entry{}},
		{"   ", Entry{}},
	} {
		got, ok := parse([]byte(row.line + "\n"))
		if ok != (row.want.Data != nil) || ok && !same(got, row.want) {
			t.Errorf("%.60s: %+v, %t", row.line, got, ok)
		}
		if _, ok := parse([]byte(row.line)); ok {
			t.Errorf("%s: taken without a newline", row.line)
		}
	}
}

func same(a, b Entry) bool {
	return a.Time.Equal(b.Time) && a.Stream == b.Stream && a.Partial == b.Partial && bytes.Equal(a.Data, b.Data)
}

// Whatever else is in the files, the entries between are read, forward and
// backward.
func TestHostileFiles(t *testing.T) {
	good := []string{plain(1, "stdout", "F", "a"), plain(2, "stdout", "F", "b"), plain(3, "stdout", "F", "c")}
	long := func(n int) string {
		return plain(4, "stderr", "F", strings.Repeat("x", n-len(plain(4, "stderr", "F", ""))))
	}
	for _, row := range []struct {
		name, between string
		kept          bool
	}{
		{"nothing", "", false},
		{"empty lines", "\n\n\n", false},
		{"zeros", strings.Repeat("\x00", 200_000) + "\n", false},
		{"half an entry", `{"time":"2026-01-02T03:04:05Z","str` + "\n", false},
		{"an entry of less than 1 MiB", long(entryMax - 1), true},
		{"an entry of 1 MiB", long(entryMax), false},
		{"an entry of 1 MiB and a byte", long(entryMax + 1), false},
		{"an entry of 3 MiB", long(3 << 20), false},
		{"two entries of 2 MiB", long(2<<20) + long(2<<20), false},
		{"newlines", strings.Repeat("\n", 200_000), false},
	} {
		for _, torn := range []string{"", "2026", strings.Repeat("y", entryMax+5)} {
			dir := lay(t, row.between+good[2]+row.between+torn, good[0]+row.between+good[1])
			want := map[int]string{-1: "a\nb\nc\n", 1: "c\n", 2: "b\nc\n", 3: "a\nb\nc\n", 4: "a\nb\nc\n"}
			for lines, text := range want {
				o := ReadOptions{Tail: lines, Streams: []Stream{Stdout}}
				if got := said(t, dir, o)[Stdout]; got != text {
					t.Errorf("%s, tail %d: %q, want %q", row.name, lines, got, text)
				}
			}
			if got := said(t, dir, everything())[Stderr]; (got != "") != row.kept {
				t.Errorf("%s: %d bytes", row.name, len(got))
			}
		}
	}
}

func TestReadOfNoLog(t *testing.T) {
	dir := openDir(t, t.TempDir())
	if err := Read(dir, everything(), nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v, want ENOENT", err)
	}
	_ = open(t, dir, Options{})
	must(t, Read(dir, everything(), nil))
}

func TestReadRefuses(t *testing.T) {
	for _, name := range []string{"log", "log.1"} {
		path := t.TempDir()
		must(t, unix.Mkfifo(filepath.Join(path, name), 0o600))
		if err := Read(openDir(t, path), everything(), nil); err == nil {
			t.Errorf("%s is a fifo and is read", name)
		}
	}
}

func TestYieldEndsTheReading(t *testing.T) {
	enough, n := errors.New("enough"), 0
	err := Read(lay(t, plain(1, "stdout", "F", "a")+plain(2, "stdout", "F", "b")), everything(), func(Entry) error {
		n++
		return enough
	})
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d entries", err, n)
	}
}

// A gap in the numbers is a rotation that a crash has cut short.
func TestAGapInTheNumbers(t *testing.T) {
	path := t.TempDir()
	must(t, os.WriteFile(filepath.Join(path, "log.2"), []byte(plain(1, "stdout", "F", "a")), 0o600))
	must(t, os.WriteFile(filepath.Join(path, "log"), []byte(plain(2, "stdout", "F", "b")), 0o600))
	if got := said(t, openDir(t, path), everything())[Stdout]; got != "a\nb\n" {
		t.Errorf("%q", got)
	}
}

// follower is a Read at work.
type follower struct {
	done    chan struct{}
	outcome chan error
	lines   chan string
}

func follow(dir int, o ReadOptions) *follower {
	f := &follower{done: make(chan struct{}), outcome: make(chan error, 1), lines: make(chan string, 1<<20)}
	o.Follow = f.done
	go func() {
		f.outcome <- Read(dir, o, func(e Entry) error {
			f.lines <- string(e.Data)
			return nil
		})
		close(f.lines)
	}()
	return f
}

func (f *follower) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-f.lines:
		return line
	case <-time.After(soon):
		t.Fatal("the follower sees nothing")
		return ""
	}
}

// rest ends the following and returns what came until then.
func (f *follower) rest(t *testing.T) (lines []string) {
	t.Helper()
	close(f.done)
	select {
	case err := <-f.outcome:
		must(t, err)
	case <-time.After(soon):
		t.Fatal("the follower goes on")
	}
	for line := range f.lines {
		lines = append(lines, line)
	}
	return lines
}

func TestFollow(t *testing.T) {
	path := t.TempDir()
	dir := openDir(t, path)
	f := follow(dir, everything()) // before there is a log
	time.Sleep(150 * time.Millisecond)
	w := open(t, dir, Options{Format: Plain})
	must(t, w.Write(Stdout, noon(), []byte("one\n")))
	if got := f.next(t); got != "one\n" {
		t.Errorf("%q", got)
	}
	log, err := os.OpenFile(filepath.Join(path, "log"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer func() { _ = log.Close() }()
	for piece := range strings.SplitSeq(plain(1, "stdout", "F", "in pieces"), "i") { // torn, for a while
		_, err := log.WriteString(piece)
		must(t, err)
		time.Sleep(150 * time.Millisecond)
	}
	if got := f.next(t); got != "n peces\n" {
		t.Errorf("%q", got)
	}
	must(t, w.Write(Stdout, noon(), []byte("last\n")))
	if got := f.rest(t); !slices.Equal(got, []string{"last\n"}) {
		t.Errorf("%q", got)
	}
}

func TestFollowFromTheTail(t *testing.T) {
	dir := lay(t, plain(1, "stdout", "F", "a")+plain(2, "stdout", "F", "b"))
	f := follow(dir, ReadOptions{Tail: 1})
	if got := f.next(t); got != "b\n" {
		t.Errorf("%q", got)
	}
	must(t, open(t, dir, Options{}).Write(Stdout, noon(), []byte("c\n")))
	if got := f.rest(t); !slices.Equal(got, []string{"c\n"}) {
		t.Errorf("%q", got)
	}
}

func TestFollowUntil(t *testing.T) {
	dir := lay(t, plain(1, "stdout", "F", "a"))
	o := everything()
	o.Until = time.Now().Add(200 * time.Millisecond)
	f := follow(dir, o)
	select {
	case err := <-f.outcome:
		must(t, err)
	case <-time.After(soon):
		t.Error("goes on after its time")
	}
}

// What somebody removes or truncates is followed as well as can be.
func TestFollowOfAFileThatIsMeddledWith(t *testing.T) {
	for _, row := range []struct {
		name   string
		meddle func(path string) error
	}{
		{"removed", os.Remove},
		{"truncated", func(path string) error { return os.Truncate(path, 0) }},
	} {
		path := t.TempDir()
		dir := openDir(t, path)
		must(t, os.WriteFile(filepath.Join(path, "log.1"), []byte(plain(1, "stdout", "F", "old")), 0o600))
		time.Sleep(20 * time.Millisecond)
		w := open(t, dir, Options{})
		must(t, w.Write(Stdout, noon(), []byte("before\n")))
		f := follow(dir, everything())
		got := []string{f.next(t), f.next(t)}
		must(t, row.meddle(filepath.Join(path, "log")))
		time.Sleep(250 * time.Millisecond)
		must(t, w.Write(Stdout, noon(), []byte("old file\n")))
		must(t, open(t, dir, Options{}).Write(Stdout, noon(), []byte("new writer\n")))
		got = append(got, f.rest(t)...)
		if want := []string{"old\n", "before\n", "old file\n", "new writer\n"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", row.name, got, want)
		}
	}
}

// Followers that begin at any time see every line once, while the files rotate.
func TestFollowWhileFilesRotate(t *testing.T) {
	for _, format := range []Format{JSON, Plain} {
		dir := openDir(t, t.TempDir())
		w := open(t, dir, Options{Format: format, MaxSize: 8 << 10, MaxFiles: 100})
		followers := []*follower{}
		const lines = 6000
		for i := range lines {
			if i%500 == 0 {
				o := everything()
				o.Gap = func() { t.Error("a gap") }
				followers = append(followers, follow(dir, o))
			}
			must(t, w.Write(Stdout, noon(), fmt.Appendf(nil, "line %d\n", i)))
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		for n, f := range followers {
			got := f.rest(t)
			for i, line := range got {
				if want := fmt.Sprintf("line %d\n", i); line != want {
					t.Fatalf("follower %d: %q, want %q", n, line, want)
				}
			}
			if len(got) != lines {
				t.Errorf("follower %d: %d lines of %d", n, len(got), lines)
			}
		}
	}
}

// What is rotated away before it is read is told of, once, where it is missing;
// what is only rotated is not missing.
func TestFollowOfWhatIsGone(t *testing.T) {
	for _, row := range []struct{ files, rotations, gaps int }{
		{1, 1, 0}, {1, 2, 1}, {2, 1, 0}, {2, 2, 0}, {2, 3, 1}, {3, 50, 1}, {5, 5, 0}, {5, 6, 1},
	} {
		path := t.TempDir()
		w := open(t, openDir(t, path), Options{Format: Plain, MaxSize: 1 << 10, MaxFiles: row.files})
		lines := 0
		say := func() {
			must(t, w.Write(Stdout, noon(), fmt.Appendf(nil, "%d\n", lines)))
			lines++
		}
		say()
		got := slowly(t, path, func() {
			for range row.rotations {
				for before := identityOf(t, path); identityOf(t, path) == before; {
					say()
				}
			}
			say()
		})
		next, gaps := 0, 0
		for _, text := range got {
			var n int
			if text == "gap" {
				gaps++
				continue
			}
			_, err := fmt.Sscan(text, &n)
			must(t, err)
			if n != next && (gaps == 0 || n < next) {
				t.Fatalf("%+v: %d, want %d", row, n, next)
			}
			next = n + 1
		}
		if gaps != row.gaps || next != lines {
			t.Errorf("%+v: %d gaps, and it ends before %d of %d", row, gaps, next, lines)
		}
	}
}

// slowly follows a log, and does something while the first line is read.
func slowly(t *testing.T, path string, do func()) (got []string) {
	t.Helper()
	over, seen, going := make(chan struct{}), make(chan struct{}), make(chan struct{})
	o := everything()
	o.Follow, o.Gap = over, func() { got = append(got, "gap") }
	outcome, dir := make(chan error, 1), openDir(t, path)
	go func() {
		outcome <- Read(dir, o, func(e Entry) error {
			if got = append(got, strings.TrimSpace(string(e.Data))); len(got) == 1 {
				close(seen)
				<-going
			}
			return nil
		})
	}()
	<-seen
	do()
	close(going)
	close(over)
	must(t, <-outcome)
	return got
}

func identityOf(t *testing.T, path string) identity {
	t.Helper()
	id, _, err := latestID(openDir(t, path))
	must(t, err)
	return id
}

// The names move all the time, one file at a time: nobody reads a log with a
// hole in the middle.
func TestReadWhileFilesRotate(t *testing.T) {
	dir := openDir(t, t.TempDir())
	w := open(t, dir, Options{Format: Plain, MaxSize: 300, MaxFiles: 8})
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := w.Write(Stdout, noon(), fmt.Appendf(nil, "%d\n", i)); err != nil {
				stopped <- err
				return
			}
		}
	}()
	for range 2000 {
		last := -1
		must(t, Read(dir, everything(), func(e Entry) error {
			var i int
			if _, err := fmt.Sscan(string(e.Data), &i); err != nil || last >= 0 && i != last+1 {
				return fmt.Errorf("%q after %d: %w", e.Data, last, err)
			}
			last = i
			return nil
		}))
	}
	close(stop)
	must(t, <-stopped)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","stream":"stdout","log":"a\n"}`))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","stream":"stderr","log64":"/w==","partial":true}`))
	f.Add([]byte("2026-01-02T03:04:05.6Z bryo P text"))
	f.Fuzz(func(t *testing.T, line []byte) {
		line = append(bytes.ReplaceAll(line, []byte("\n"), nil), '\n')
		entry, ok := parse(line)
		if !ok {
			return
		}
		if entry.Stream > Bryo || len(entry.Data) > len(line) {
			t.Fatalf("%q: %+v", line, entry)
		}
		n, year := bytes.IndexByte(entry.Data, '\n'), entry.Time.UTC().Year()
		entry.Partial = n < 0
		if !entry.Partial && n < len(entry.Data)-1 || year > 9999 || year < 0 {
			return // no Writer makes this
		}
		for _, format := range []Format{JSON, Plain} {
			head := appendHead(nil, format, entry.Stream, entry.Time)
			again, ok := parse(appendEntry(nil, format, head, entry.Data, entry.Partial))
			if !ok || !same(again, entry) {
				t.Errorf("%+v comes back as %+v", entry, again)
			}
		}
	})
}

// What comes out of a log is what went in, in chunks of any kind, through
// rotation, flushes and processes that take over.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("text\nmore"), uint64(1))
	f.Add(noise(rand.New(rand.NewPCG(7, 8)), 60_000), uint64(2))
	f.Add(bytes.Repeat([]byte("ä"), 20_000), uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		for _, format := range []Format{JSON, Plain} {
			random := rand.New(rand.NewPCG(seed, 0))
			dir := openDir(t, t.TempDir())
			o := Options{Format: format, MaxSize: int64(2000 + len(data)*(1+random.IntN(4))), MaxFiles: 30}
			w := open(t, dir, o)
			var want [streams]string
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(1+len(data)/(1+random.IntN(20))))
				s := Stream(random.IntN(2))
				must(t, w.Write(s, noon(), rest[:n]))
				want[s] += string(rest[:n])
				rest = rest[n:]
				switch random.IntN(10) {
				case 0:
					must(t, w.Flush(noon()))
				case 1:
					state := w.Export()
					w = open(t, dir, o)
					must(t, w.Import(state))
				}
			}
			must(t, w.Flush(noon()))
			if got := said(t, dir, everything()); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if got := said(t, dir, ReadOptions{Tail: 1 << 30}); got != want {
				t.Errorf("as a tail: %q, want %q", got, want)
			}
		}
	})
}
