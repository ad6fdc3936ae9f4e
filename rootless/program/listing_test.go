package program

import (
	"math"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func list(t *testing.T, p *Program) string {
	t.Helper()
	var b strings.Builder
	if err := p.List(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestList(t *testing.T) {
	p := New()
	p.Step("open", "root")
	root := p.OpenTree("root", CWD(), "/srv/root", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	file := p.Openat2("etc", root, "etc", unix.O_PATH|unix.O_CLOEXEC, 0o600, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	p.Close(file)
	p.Step("mount", "/proc")
	fs := p.Fsopen("proc")
	p.FsconfigString(fs, "hidepid", "2")
	p.FsconfigFlag(fs, "ro")
	p.FsconfigCreate(fs)
	mnt := p.Fsmount("proc", fs, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	p.MountSetattr(mnt, unix.MOUNT_ATTR_RDONLY, 0, unix.MS_PRIVATE, unix.AT_RECURSIVE)
	p.Tolerate(Errno(unix.ENOSYS))
	p.MoveMount(mnt, root)
	p.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	p.Umount(".", unix.MNT_DETACH)
	p.Step("look", "")
	stat := p.Statx(root)
	there := p.SkipOn(enoent, ebadf)
	p.Compare(stat.Load(StatxMode), 0xf000, 0o40000, Errno(unix.ENOTDIR))
	p.Land(there)
	p.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	p.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1)
	p.Mknodat(CWD(), "null", 0o20666, 259)
	p.SetCloexec(FD(4))
	p.Write(FD(1), strings.Repeat("long ", 40))
	p.Step("execute", "/bin/sh")
	child := p.Fork(unix.CLONE_PARENT, 17)
	p.Execve("/bin/sh", p.Strings([]string{"sh", "-c", "echo \"hi\""}), p.Strings(nil))
	p.Tolerate()
	p.Reap(child)
	want := `# open root
open_tree(AT_FDCWD, "/srv/root", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_RECURSIVE) = root.0
openat2(root.0, "etc", {O_CLOEXEC|O_PATH, 0600, RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT}, 24) = etc.1
close(etc.1)
# mount /proc
fsopen("proc", FSOPEN_CLOEXEC) = proc.2
fsconfig(proc.2, FSCONFIG_SET_STRING, "hidepid", "2", 0)
fsconfig(proc.2, FSCONFIG_SET_FLAG, "ro", 0, 0)
fsconfig(proc.2, FSCONFIG_CMD_CREATE, 0, 0, 0)
fsmount(proc.2, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV) = proc.3
mount_setattr(proc.3, "", AT_EMPTY_PATH|AT_RECURSIVE, {MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, 0}, 32)  // may fail ENOSYS
move_mount(proc.3, "", root.0, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)
mount(NULL, "/", NULL, MS_REC|MS_SLAVE, NULL)
umount2(".", MNT_DETACH)
# look
statx(root.0, "", AT_EMPTY_PATH, 0x7ff, &statx.4)  // may fail ENOENT EBADF, then skip 1
expect statx.4+28 & 0xf000 == 0x4000, else ENOTDIR
close_range(3, 4294967295, 4)
prctl(PR_SET_NO_NEW_PRIVS, 1)
mknodat(AT_FDCWD, "null", 020666, 259)
fcntl(4, F_SETFD, 1)
write(1, "` + strings.Repeat("long ", 24) + `"..., 200)
# execute /bin/sh
clone3({CLONE_PARENT, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0}, 88) = child.5
execve("/bin/sh", ["sh", "-c", "echo \"hi\""], [])  // may fail
reap: forward signals to child.5, collect children, exit as it does
`
	if got := list(t, p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Every call that has a method has a name, and every flag that is styled.
func TestEveryCallHasAName(t *testing.T) {
	p := New()
	b := p.Buffer("b", 8, "")
	p.Openat("f", CWD(), "f", 0, 0)
	p.Read(FD(0), b, 0, 8)
	p.WriteFrom(FD(0), b, 0, 8)
	p.PivotRoot(".", ".")
	p.Chdir("/")
	p.Fchdir(FD(3))
	p.Mkdirat(CWD(), "d", 0o755)
	p.Symlinkat("a", CWD(), "b")
	p.Fchmod(FD(3), 0o644)
	p.Getcwd()
	p.Dup3(FD(3), 4, unix.O_CLOEXEC)
	p.PrctlName("x")
	p.ExecFD(FD(3), p.Strings(nil), p.Strings(nil))
	p.Exit(0)
	if got := list(t, p); strings.Contains(got, "syscall") {
		t.Error(got)
	}
}

func TestNumbersPrint(t *testing.T) {
	for _, test := range []struct {
		style style
		n     uint64
		want  string
	}{
		{asSigned, math.MaxUint64, "-1"},
		{asUnsigned, math.MaxUint64, "18446744073709551615"},
		{asHex, 255, "0xff"},
		{asOctal, 8, "010"},
		{asFD, math.MaxUint64 - 99, "AT_FDCWD"},
		{asFD, 3, "3"},
		{prctlOption, 9999, "9999"},
		{openFlags, 0, "0"},
		{openFlags, unix.O_RDWR | 1<<40, "O_RDWR|0x10000000000"},
		{mountFlags, 1 << 40, "0x10000000000"},
		{cloneFlags, unix.CLONE_NEWUSER | unix.CLONE_NEWNET, "CLONE_NEWUSER|CLONE_NEWNET"},
	} {
		if got := number(test.style, test.n); got != test.want {
			t.Errorf("%d: %s, want %s", test.n, got, test.want)
		}
	}
}

// What is gone without may fail whatever the error, is told, and takes the rest
// of itself along; jumps stay as they were.
func TestBestEffort(t *testing.T) {
	p := New()
	p.BestEffort(func() {
		p.Step("mask", "it")
		fd := p.Openat("it", CWD(), "it", 0, 0)
		gone := p.SkipOn(2)
		p.Close(fd)
		p.Close(fd)
		p.Land(gone)
	})
	p.Exit(0)
	for i, want := range []op{{tolerate: 1 << 2, skip: 2}, {tolerate: ^uint64(0), skip: 1, report: true}, {tolerate: ^uint64(0), report: true}, {}} {
		if got := p.ops[i]; got.tolerate != want.tolerate || got.skip != want.skip || got.report != want.report {
			t.Errorf("call %d: %#x, skips %d, told %t", i, got.tolerate, got.skip, got.report)
		}
	}
}

// An image's names do not move the cursor.
func TestListOfOddNames(t *testing.T) {
	p := New()
	p.Step("mount", "/\x1b[31m\u009b\n# \"x\"")
	p.Syscall(unix.SYS_SETSID)
	if got, want := list(t, p), `# mount /\x1b[31m\u009b\n# \"x\"`+"\nsetsid()\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
