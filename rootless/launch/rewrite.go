package launch

import (
	"errors"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/program"
)

// Rewrite gives a file that bryo made and mounted in a container that runs
// another content, as the container's root would. Whatever the container has
// put in its place is left alone. Plan.Entered is a pidfd of its PID 1.
func Rewrite(plan *rootless.Plan, target, content string) (err error) {
	held, err := program.Hold()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Release()) }()
	c, err := startHeld(plan, 0, compileEnter, func(plan *rootless.Plan, fds descriptors) *program.Program {
		return compileRewrite(plan, fds, target, content)
	}, held)
	if err != nil {
		return err
	}
	defer c.image.close()
	_, err = wait(c.PID)
	return errors.Join(err, unix.Close(c.PIDFD))
}

func compileRewrite(plan *rootless.Plan, fds descriptors, target, content string) *program.Program {
	const tmpfs, statfsSize, statxAttributes = 0x01021994, 120, 0x08 // statfs(2), statx(2)
	p := program.New()
	tie(p, fds)
	p.Step("hide", "from processes inside")
	p.Prctl(unix.PR_SET_DUMPABLE, 0)
	p.Step("enter", "the container")
	p.Syscall(unix.SYS_SETNS, program.FD(plan.Entered), program.Num(unix.CLONE_NEWUSER|unix.CLONE_NEWNS))
	becomeRoot(p, plan)
	tie(p, fds)
	p.Step("open", target)
	root := p.Openat("root", program.CWD(), "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	file := p.Openat2("file", root, target, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0,
		unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	p.Step("recognize", target)
	stat := p.Statx(file)
	p.Compare(stat.Load(program.StatxMode), unix.S_IFMT, unix.S_IFREG, program.Errno(unix.ESTALE))
	p.Compare(stat.Load(statxAttributes), unix.STATX_ATTR_MOUNT_ROOT, unix.STATX_ATTR_MOUNT_ROOT, program.Errno(unix.ESTALE))
	kind := p.Buffer("statfs", statfsSize, "")
	p.Syscall(unix.SYS_FSTATFS, file, kind.At(0))
	p.Compare(kind.Load(0), ^uint64(0), tmpfs, program.Errno(unix.ESTALE))
	p.Step("write", target)
	p.Write(file, content)
	p.Syscall(unix.SYS_FTRUNCATE, file, program.Num(len(content)))
	p.Exit(0)
	return p
}
