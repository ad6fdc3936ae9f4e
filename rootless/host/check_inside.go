package host

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bryo/rootless/ns"
	"bryo/rootless/program"
)

// Names of the steps, by which failures are told apart.
const (
	stepMap      = "map ids"
	stepTmpfs    = "mount tmpfs"
	stepOverlay  = "mount overlay"
	stepProc     = "mount proc"
	stepTun      = "open tun"
	stepLandlock = "ask landlock"
	stepCall     = "call"
)

// tryUserns makes the namespaces and tries as their root what a launch does.
func (s *symptoms) tryUserns() {
	s.alone = whileWaiting(unix.CLONE_NEWUSER, func(pid int) {
		s.guard.childLabel = appArmorLabel(pid)
		s.tryHelpers(pid)
	})
	if !s.alone.worked() {
		_, _, s.bare = unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
		return
	}
	flags := s.tryKinds()
	const needed = unix.CLONE_NEWNS | unix.CLONE_NEWPID
	if flags&needed == needed {
		s.tryInside(flags)
	}
}

// tryKinds finds out which namespaces can be made beside a user namespace: all
// at once, and one by one if that fails. Its result is flags for clone3.
func (s *symptoms) tryKinds() uint64 {
	var all uint64
	for _, kind := range ns.All() {
		all |= kind.CloneFlag()
	}
	p := newChild()
	p.Exit(0)
	if together, _ := carryOut(p, all); together.worked() {
		return all
	}
	works := uint64(unix.CLONE_NEWUSER)
	for _, kind := range ns.All() {
		if kind == ns.User {
			continue
		}
		p := newChild()
		p.Exit(0)
		one, _ := carryOut(p, unix.CLONE_NEWUSER|kind.CloneFlag())
		s.kinds = append(s.kinds, kindTrial{kind, one})
		if one.worked() {
			works |= kind.CloneFlag()
		}
	}
	return works
}

// tryInside tries each step by itself. The order matters: no inode can be made
// before ids are mapped, and tmpfs is where the overlay's layers lie.
func (s *symptoms) tryInside(flags uint64) {
	p := newChild()
	mapSelf(p, s.user.uid, s.user.gid)
	mountTmpfs(p)
	mountOverlay(p)
	mountProc(p)
	if flags&unix.CLONE_NEWNET != 0 {
		makeTun(p)
	}
	p.Step(stepVerb(stepLandlock))
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	p.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, program.Num(0), program.Num(0), program.Num(version))
	tolerate(p)
	calls := callList()
	for i := range calls {
		p.Step(stepCall, calls[i].name)
		p.Syscall(calls[i].number, calls[i].args...)
		tolerate(p)
	}
	p.Exit(0)

	var failures []program.Failure
	s.inside.ran, failures = carryOut(p, flags)
	if s.inside.ran.errno == 0 && s.inside.ran.signal == 0 {
		s.inside.read(failures, calls)
		s.inside.tun.tried = flags&unix.CLONE_NEWNET != 0
	}
}

// tolerate lets the last operation fail, but has it reported.
func tolerate(p *program.Program) {
	p.Tolerate()
	p.Report()
}

func (in *inside) read(failures []program.Failure, calls []call) {
	steps := map[string]*attempt{
		stepMap: &in.mapIDs, stepTmpfs: &in.tmpfs, stepOverlay: &in.overlay,
		stepProc: &in.proc, stepTun: &in.tun, stepLandlock: &in.landlock,
	}
	for _, a := range steps {
		*a = attempt{tried: true}
	}
	refusals := make(map[string]unix.Errno)
	for i := range failures {
		f := &failures[i]
		if a := steps[f.Step]; a != nil {
			a.errno, a.call = unix.Errno(f.Errno), f.Call
			continue
		}
		refusals[f.Object] = unix.Errno(f.Errno)
	}
	for i := range calls {
		in.calls = append(in.calls, callTrial{calls[i], refusals[calls[i].name]})
	}
}

// steps is a list of operations that ends with the first one that fails.
type steps struct {
	p    *program.Program
	ends []program.Label
}

func begin(p *program.Program, step string) *steps {
	p.Step(stepVerb(step))
	return &steps{p: p}
}

// or ends the list when the last operation failed.
func (s *steps) or() {
	s.ends = append(s.ends, s.p.SkipOn())
	s.p.Report()
}

func (s *steps) end() {
	for _, l := range s.ends {
		s.p.Land(l)
	}
}

func mapSelf(p *program.Program, uid, gid uint32) {
	s := begin(p, stepMap)
	for _, file := range []struct{ path, content string }{
		// An unprivileged gid map needs it: user_namespaces(7).
		{"/proc/self/setgroups", "deny"},
		{"/proc/self/uid_map", fmt.Sprintf("0 %d 1\n", uid)},
		{"/proc/self/gid_map", fmt.Sprintf("0 %d 1\n", gid)},
	} {
		fd := p.Openat("file", program.CWD(), file.path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		s.or()
		p.Write(fd, file.content)
		s.or()
		p.Close(fd)
	}
	s.end()
}

// Where the tmpfs is mounted, over what the host has there.
const scratchDir = "/tmp"

func mountTmpfs(p *program.Program) {
	s := begin(p, stepTmpfs)
	fs := p.Fsopen("tmpfs")
	s.or()
	p.FsconfigCreate(fs)
	s.or()
	mount := p.Fsmount("tmpfs", fs, 0)
	s.or()
	dir := p.Openat("scratch", program.CWD(), scratchDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	s.or()
	p.MoveMount(mount, dir)
	s.or()
	for _, name := range []string{"lower", "upper", "work"} {
		p.Mkdirat(mount, name, 0o700)
		s.or()
	}
	s.end()
}

func mountOverlay(p *program.Program) {
	s := begin(p, stepOverlay)
	fs := p.Fsopen("overlay")
	s.or()
	for _, option := range []struct{ key, dir string }{{"lowerdir", "lower"}, {"upperdir", "upper"}, {"workdir", "work"}} {
		p.FsconfigString(fs, option.key, scratchDir+"/"+option.dir)
		s.or()
	}
	// A user may not set trusted attributes: overlayfs.rst of the kernel.
	p.FsconfigFlag(fs, "userxattr")
	s.or()
	p.FsconfigCreate(fs)
	s.or()
	p.Fsmount("overlay", fs, 0)
	s.or()
	s.end()
}

func mountProc(p *program.Program) {
	s := begin(p, stepProc)
	fs := p.Fsopen("proc")
	s.or()
	p.FsconfigCreate(fs)
	s.or()
	p.Fsmount("proc", fs, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	s.or()
	s.end()
}

// makeTun makes a device in the own network namespace: netdevice(7),
// Documentation/networking/tuntap.rst.
func makeTun(p *program.Program) {
	s := begin(p, stepTun)
	fd := p.Openat("tun", program.CWD(), tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	s.or()
	const nameSize, requestSize = 16, 40 // of struct ifreq
	request := make([]byte, nameSize+2)
	const flags = unix.IFF_TUN | unix.IFF_NO_PI
	request[nameSize], request[nameSize+1] = flags&0xff, flags>>8
	p.Syscall(unix.SYS_IOCTL, fd, program.Num(unix.TUNSETIFF), p.Buffer("ifreq", requestSize, string(request)).At(0))
	s.or()
	s.end()
}
