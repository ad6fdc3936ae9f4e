package tests

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Who answers for a container whose owners are made up reaches nothing for it that it
// would not reach itself, and is not brought to an end.
func TestAttackSquash(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	attack := []string{"attack", "squash", b.secret}
	one := []string{"--userns", "single", "--net", "none", "--squash"}
	for _, flags := range [][]string{nil, {"--cap-add", "sys_chroot"}, {"--nest"}, {"-v", b.outside + ":/srv:ro"}} {
		b.loses(append(flags, one...), attack...)
		b.unnoted()
	}
	b.losesInside(one, attack...)
	b.unnoted()
	if err := b.untouched(); err != nil {
		t.Error(err)
	}
	b.nothingLeft()
}

// unnoted says that nothing outside has a note.
func (b *battle) unnoted() {
	b.t.Helper()
	for _, path := range []string{b.secret, b.outside, b.dir, filepath.Dir(b.bin), b.bin} {
		for _, name := range []string{"user.rootlesscontainers", "user.bryo.owners"} {
			if _, err := unix.Lgetxattr(path, name, nil); !errors.Is(err, unix.ENODATA) {
				b.t.Errorf("%s of %s: %v", name, path, err)
			}
		}
	}
}

// When who answers is killed, what it answered is not there any more, and nothing
// else is lost or left.
func TestSquashKilled(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	before := s.traces()
	flags := []string{"--userns", "single", "--net", "none", "--squash"}
	cmd := s.command("bryo", slices.Concat([]string{"run"}, flags, []string{s.root, "sh", "-c", "echo ready.; read x; echo back; chown 33 /tmp 2>&1; read y"})...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := s.start(cmd)
	out.await(t, "ready.")
	s.find(os.Getpid(), "bryo-squash").kill()
	if _, err := in.Write([]byte("go on\n")); err != nil {
		t.Fatal(err)
	}
	out.await(t, "Function not implemented")
	_ = in.Close()
	s.wait(cmd)
	s.same(before, "who answers, killed")
}
