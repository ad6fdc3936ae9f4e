package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// unpacker is a way to unpack the same files. Its script gets bryo as $1, and
// makes the directory tree.
type unpacker struct{ name, base, script string }

const (
	bryoGzip   = "bryo, gzip"
	bryoZstd   = "bryo, zstd"
	bryoLayout = "bryo, layout"
)

func unpackers() []unpacker {
	const tar = `exec "$1" unshare sh -c 'mkdir tree && exec tar -C tree -xpf `
	return []unpacker{
		{bryoGzip, "", `exec "$1" unpack files.gz tree`},
		{"GNU tar, gzip", bryoGzip, tar + `files.gz'`},
		{bryoZstd, "", `exec "$1" unpack files.zst tree`},
		{"GNU tar, zstd", bryoZstd, tar + `files.zst'`},
		{bryoLayout, "", `exec "$1" unpack oci:layout:web tree`},
		{"umoci, one id", bryoLayout, `exec umoci unpack --rootless --image layout:web tree`},
		// Into a storage of its own, with the driver that it takes by itself.
		{"podman pull", bryoLayout, `exec podman --root "$2/tree" --runroot "$2/run" pull -q oci:layout:web`},
	}
}

// unpackTarget is what bryo may take of the time of tar, and of umoci and podman.
func unpackTarget(base string) float64 {
	const tar, images = 1.0, 0.4
	switch base {
	case bryoGzip, bryoZstd:
		return tar
	case bryoLayout:
		return images
	}
	return 0
}

// unpacks measures how long a Debian root file system takes, to a file system in
// memory: on a disk, what is removed between the rounds is in the way of what is
// made.
func (b *bench) unpacks(bryo string, rounds int) section {
	s := section{Title: "unpack a Debian root file system", Unit: "ms", Notes: []string{"all to /dev/shm"}}
	for _, u := range unpackers() {
		s.Rows = append(s.Rows, row{Tool: u.name, Base: u.base, Target: unpackTarget(u.base)})
	}
	dir, err := os.MkdirTemp("/dev/shm", "bryo-bench-")
	if err == nil {
		err = b.unpackSources(dir)
	}
	defer func() { _ = b.script(dir, bryo, `cd / && exec "$1" unshare rm -rf "$2"`) }()
	if err != nil {
		for i := range s.Rows {
			s.Rows[i].Missing = err.Error()
		}
		return s
	}
	b.say("%s: %d rounds", s.Title, rounds)
	faults := make([]fault, len(s.Rows))
	for range rounds {
		for _, i := range b.shuffled(len(s.Rows)) {
			took, err := b.timed([]string{"/bin/sh", "-euc", `cd "$2"; ` + unpackers()[i].script, "sh", bryo, dir})
			err = errors.Join(err, b.script(dir, bryo, `exec "$1" unshare rm -rf tree`))
			if !faults[i].count(err) {
				s.Rows[i].Samples = append(s.Rows[i].Samples, took.Seconds()*1e3)
			}
		}
	}
	for i, f := range faults {
		f.tell(&s.Rows[i], rounds)
	}
	return s
}

func (b *bench) script(dir, bryo, text string) error {
	_, err := b.output([]string{"/bin/sh", "-euc", `cd "$2"; ` + text, "sh", bryo, dir}, time.Minute)
	return err
}

// unpackSources makes what is unpacked, of the set-up's archive.
func (b *bench) unpackSources(dir string) error {
	const files = "/var/cache/bryo-test/rootfs/debian.tar"
	if _, err := os.Stat(files); err != nil {
		return fmt.Errorf("tests/setup makes what is unpacked: %w", err)
	}
	return b.script(dir, files, `gzip < "$1" > files.gz; zstd -q < "$1" > files.zst
		{ umoci init --layout layout && umoci new --image layout:web && umoci raw add-layer --image layout:web "$1"; } >&2`)
}
