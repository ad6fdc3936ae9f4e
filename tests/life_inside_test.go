package tests

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// intruding is the variable that has TestIntruder attack what it finds.
const intruding = "BRYO_TEST_INTRUDER"

// TestIntruder runs itself in a container, as root there, and attacks PID 1.
func TestIntruder(t *testing.T) {
	if how := os.Getenv(intruding); how != "" {
		intrude(t, how)
		return
	}
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	intruder := s.intruder()
	slash, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slash.Close() }()
	for _, flags := range [][]string{
		{"-e", intruding + "=plain"},
		{"-e", intruding + "=plain", "-t"},
		{"-e", intruding + "=plain", "-u", "1000"},
		{"-e", intruding + "=plain", "--userns", "single"},
		{"-e", intruding + "=plain", "--net", "host"},
		{"-e", intruding + "=tracer", "--cap-add", "SYS_PTRACE"},
	} {
		args := append(append([]string{"run"}, flags...), "-v", intruder+":/bin/intruder:ro", s.root, "intruder", "-test.run", "^TestIntruder$")
		cmd := s.command("bryo", args...)
		cmd.ExtraFiles = []*os.File{slash} // what a careless caller leaves open
		if got := s.end(cmd); got.code != 0 || !strings.Contains(got.out, "PASS") {
			t.Errorf("%v: %+v", flags[1:], got)
		}
		s.nothingLeft()
	}
}

// intruder is this test's executable where everybody may read it. A container
// of busybox has no C library for it.
func (s *site) intruder() string {
	s.t.Helper()
	path := filepath.Join(s.dir, "intruder")
	if err := copyFile("/proc/self/exe", path); err != nil {
		s.t.Fatal(err)
	}
	file, err := elf.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		s.t.Skip("the tests are linked with the C library: CGO_ENABLED=0 go test")
	}
	return path
}

// intrude is what the intruder does. Tracers may look at PID 1, but there is
// nothing of the host to see.
func intrude(t *testing.T, how string) {
	if how == "tracer" {
		lookAtInit(t)
	} else {
		attackInit(t)
	}
	lookAround(t)
	// A PID 1 cannot be killed or stopped from inside its namespace.
	for _, n := range []unix.Signal{unix.SIGKILL, unix.SIGSTOP} {
		if err := unix.Kill(1, n); err != nil && !errors.Is(err, unix.EPERM) {
			t.Errorf("kill -%d 1: %v", n, err)
		}
	}
	const moment = 50 * time.Millisecond
	time.Sleep(moment)
	if state := stateOf(1); state != 'S' && state != 'R' {
		t.Errorf("PID 1 is in state %c", state)
	}
	for _, n := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		if err := unix.Kill(0x3fffffff, n); !errors.Is(err, unix.ESRCH) {
			t.Errorf("kill of nobody: %v", err)
		}
	}
}

// attackInit tries every way into PID 1's memory and files.
func attackInit(t *testing.T) {
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("PTRACE_ATTACH", unix.PtraceAttach(1))
	refused("PTRACE_SEIZE", unix.PtraceSeize(1))
	buffer := make([]byte, 16)
	local := []unix.Iovec{{Base: &buffer[0]}}
	local[0].SetLen(len(buffer))
	remote := []unix.RemoteIovec{{Base: 0x10011000, Len: len(buffer)}} // where the stage's program is
	_, err := unix.ProcessVMReadv(1, local, remote, 0)
	refused("process_vm_readv", err)
	_, err = unix.ProcessVMWritev(1, local, remote, 0)
	refused("process_vm_writev", err)
	for _, name := range []string{"mem", "environ", "maps", "auxv", "syscall", "stack", "io", "smaps_rollup"} {
		file, err := os.Open("/proc/1/" + name)
		if err == nil {
			_, err = file.Read(buffer)
			_ = file.Close()
		}
		if !errors.Is(err, os.ErrNotExist) {
			refused("/proc/1/"+name, err)
		}
	}
	for n := range 16 {
		_, err = os.Readlink(fmt.Sprintf("/proc/1/fd/%d", n))
		if !errors.Is(err, os.ErrNotExist) {
			refused("readlink of a descriptor", err)
		}
	}
	closesAll(t)
	for _, name := range []string{"root", "cwd", "exe", "ns/mnt"} {
		_, err = os.Readlink("/proc/1/" + name)
		refused("readlink /proc/1/"+name, err)
		_, err = os.Open("/proc/1/" + name)
		refused("/proc/1/"+name, err)
	}
	if fd, err := unix.PidfdOpen(1, 0); err == nil {
		for n := range 16 {
			_, err = unix.PidfdGetfd(fd, n, 0)
			refused("pidfd_getfd", err)
		}
		_ = unix.Close(fd)
	}
}

// lookAtInit has what PID 1 shows to a tracer be the container's.
func lookAtInit(t *testing.T) {
	closesAll(t)
	for _, name := range []string{"root", "cwd"} {
		if at, err := os.Readlink("/proc/1/" + name); err == nil && at != "/" {
			t.Errorf("/proc/1/%s is %s", name, at)
		}
	}
	if _, err := os.Stat("/proc/1/root/etc/motd"); err != nil && !errors.Is(err, os.ErrPermission) {
		t.Errorf("PID 1 has another root: %v", err)
	}
	sealed(t, 1)
}

// closesAll has PID 1 end up without descriptors. The command may run a moment
// before init has closed what it needed; a file or directory of the host is
// never among that.
func closesAll(t *testing.T) {
	t.Helper()
	if !holds(func() bool {
		open, err := os.ReadDir("/proc/1/fd")
		for _, fd := range open {
			info, err := os.Stat("/proc/1/fd/" + fd.Name())
			if err == nil && (info.IsDir() || info.Mode().IsRegular() && info.Size() > 0) {
				t.Errorf("PID 1 has the descriptor %s open: %v", fd.Name(), info)
			}
		}
		return len(open) == 0 && (err == nil || errors.Is(err, os.ErrPermission))
	}) {
		t.Error("PID 1 keeps descriptors open")
	}
}

// sealed has a process' executable be one that nobody can change.
func sealed(t *testing.T, pid int) {
	t.Helper()
	link := fmt.Sprintf("/proc/%d/exe", pid)
	if at, err := os.Readlink(link); err != nil || !strings.HasPrefix(at, "/memfd:") {
		t.Errorf("%s is %q, %v", link, at, err)
	}
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC} {
		if fd, err := unix.Open(link, flags|unix.O_CLOEXEC, 0); err == nil {
			if _, err := unix.Write(fd, []byte("x")); err == nil {
				t.Errorf("%s can be written", link)
			}
			if unix.Ftruncate(fd, 0) == nil {
				t.Errorf("%s can be cut", link)
			}
			_ = unix.Close(fd)
		}
	}
	fd, err := unix.Open(link, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = unix.Close(fd) }()
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || seals&all != all {
		t.Errorf("%s has the seals %#x, %v", link, seals, err)
	}
}

// lookAround has every process inside be the container's.
func lookAround(t *testing.T) {
	all := processes()
	const most = 2 // init and this
	if len(all) > most {
		t.Errorf("more processes than these two can be seen: %v", all)
	}
	for _, p := range all {
		at, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid))
		if err == nil && at != "/bin/intruder" && !strings.HasPrefix(at, "/memfd:bryo-") {
			t.Errorf("%v executes %s", p, at)
		}
	}
	for _, namespace := range []string{"pid", "user", "mnt", "net"} {
		if _, err := os.Readlink("/proc/self/ns/" + namespace); err != nil {
			t.Error(err)
		}
	}
}

// TestOutsideOfIt looks at the two processes of bryo from outside, where their
// owner may look.
func TestOutsideOfIt(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	cmd := s.command("bryo", "run", s.root, "sh", "-c", "echo ready.; exec sleep 1000")
	s.start(cmd).await(t, "ready.")
	settle(cmd, way{})
	s.find(cmd.Process.Pid, "sleep")
	init := s.find(cmd.Process.Pid, "bryo-init")
	sealed(t, cmd.Process.Pid)
	if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", init.pid)); err != nil {
		t.Log(err)
	} else if len(open) > 0 {
		t.Errorf("init has the descriptors %v open", open)
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
	if err != nil || len(open) != 1 {
		t.Errorf("the supervisor has the descriptors %v open, want its pidfd only; %v", open, err)
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(init.pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"NoNewPrivs:\t1", "CapInh:\t0000000000000000", "CapEff:\t0000000000000020", "CapAmb:\t0000000000000000"} {
		if !strings.Contains(string(status), line+"\n") {
			t.Errorf("init's status has no %q:\n%s", line, status)
		}
	}
	_ = cmd.Process.Kill()
	s.wait(cmd)
}

// TestOwnExecutable runs scripts whose interpreter is whatever executes them:
// CVE-2019-5736. Nothing of the host may answer.
func TestOwnExecutable(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	for i, line := range []string{"#!/proc/self/exe", "#!/proc/self/exe version", "#!/proc/1/exe", "#!/proc/1/exe version", "#!/proc/thread-self/exe help", "#!/dev/fd/3"} {
		name := fmt.Sprintf("payload%d", i)
		if err := os.WriteFile(filepath.Join(s.root, "bin", name), []byte(line+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, flags := range [][]string{nil, {"--as-pid-1"}, {"-u", "1000"}, {"-t"}, {"--cap-add", "SYS_PTRACE"}, {"-e", "pidfd=1"}} {
			for _, command := range [][]string{{name}, {name, "more", "arguments"}, {"env", "-i", name}, {"env", "-i", "pidfd=1", name}} {
				got := s.bryo(append(append(append([]string{"run"}, flags...), s.root), command...)...)
				if got.code == 0 || strings.Contains(got.out, "bryo") {
					t.Errorf("%s %v %v: %+v", line, flags, command, got)
				}
			}
		}
	}
}

// TestSignalsFromInside: PID 1 passes what it is sent on to the command, and
// lives; the supervisor is out of reach.
func TestSignalsFromInside(t *testing.T) {
	if !ordinary(t) {
		return
	}
	s := newSite(t)
	got := s.bryo("run", s.root, "sh", "-c", `
		trap 'echo got TERM.' TERM
		kill -KILL 1; kill -STOP 1; kill -TERM 1
		sleep 0.2; sleep 0.2
		kill -0 1 && echo alive.
		kill -KILL -1; exit 7`)
	if got.code != 7 || got.out != "got TERM.\nalive.\n" {
		t.Errorf("got %+v", got)
	}
	if got := s.bryo("run", s.root, "sh", "-c", "kill -TERM 1; sleep 1000"); got.code != 143 {
		t.Errorf("kill 1 from inside: %+v", got)
	}
	if got := s.bryo("run", "-u", "1000", s.root, "sh", "-c", "kill -TERM 1 2>/dev/null; exit 9"); got.code != 9 {
		t.Errorf("kill 1 from inside, as another user: %+v", got)
	}
}
