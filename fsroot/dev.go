package fsroot

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// Sizes of the small file systems, in bytes.
const (
	devSize   = 64 << 10
	storeSize = 1 << 20
)

// makeDev makes /dev: an own tmpfs with the host's harmless devices, the
// user's, pseudo-terminals, shared memory and message queues.
func (b *Builder) makeDev() {
	b.makeStore()
	b.p.Step("mount", "/dev")
	b.dev = b.tmpfs(0o755, devSize, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	b.p.MoveMount(b.dev, b.standardDir(devDir))
	for i, n := range nodes() {
		b.p.Step("make", "/dev/"+n.name)
		b.attachWith(b.nodes[i], b.newFile(b.dev, n.name), deviceAttributes, 0)
	}
	b.null = b.nodes[0]
	b.p.Step("make", "links in /dev")
	for _, l := range links() {
		b.p.Symlinkat(l.target, b.dev, l.name)
	}
	b.pts = b.mountDev("pts", "devpts", b.ptsOptions(), unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if b.plan.Console {
		b.p.Step("make", "/dev/console")
		b.console = b.newFile(b.dev, "console")
	}
	b.makeShared()
	for i, d := range b.plan.Devices {
		b.p.Step("make", d.Target)
		b.attachWith(b.devices[i], b.deviceTarget(d.Target), deviceAttributes, 0)
	}
}

// emptyDir is the store's directory that covers masked ones.
const emptyDir = "empty"

// makeStore makes what mounts inside are clones of: the files that bryo writes
// and an empty directory. It lies on the root's /dev, where /dev itself covers
// it, since clones are made of attached mounts only (before Linux 6.15), and
// since a file without a name could not be mounted on (by a container inside).
func (b *Builder) makeStore() {
	b.p.Step("make", "a store for files and covers")
	b.store = b.tmpfs(0o755, storeSize, kernelAttributes)
	b.p.Mkdirat(b.store, emptyDir, 0o555)
	b.p.Step("mount", "/dev")
	b.p.MoveMount(b.store, b.standardDir(devDir))
	for i, f := range b.plan.Files {
		b.p.Step("write", f.Target)
		name := strconv.Itoa(i)
		file := b.p.Openat("file", b.store, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if f.Content != "" {
			b.p.Write(file, f.Content)
		}
		b.p.Close(file)
		b.files = append(b.files, b.p.OpenTree("file", b.store, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
	}
	b.p.Step("make read-only", "the store")
	b.makeReadOnly(b.store, kernelAttributes, 0)
}

// makeShared makes what an IPC namespace has in /dev.
func (b *Builder) makeShared() {
	if b.plan.HostIPC {
		b.p.Step("mount", "/dev/shm")
		b.p.Mkdirat(b.dev, "shm", 0o755)
		b.attachWith(b.shm, b.p.Openat("shm", b.dev, "shm", openPath|unix.O_DIRECTORY, 0), kernelAttributes, 0)
		return
	}
	b.mountDev("shm", "tmpfs", []option{{"mode", "1777"}, {"size", strconv.FormatUint(b.plan.ShmSize, 10)}}, kernelAttributes)
	b.mountDev("mqueue", "mqueue", nil, kernelAttributes)
}

// option is one of a file system's options.
type option struct{ key, value string }

func (b *Builder) ptsOptions() []option {
	options := []option{{"ptmxmode", "0666"}, {"mode", "0620"}}
	if b.plan.TTYGroup {
		options = append(options, option{"gid", "5"})
	}
	return options
}

// mountDev mounts a file system on a new directory of /dev.
func (b *Builder) mountDev(name, kind string, options []option, attributes uint64) program.Arg {
	b.p.Step("mount", "/dev/"+name)
	fs := b.open(kind)
	for _, o := range options {
		b.p.FsconfigString(fs, o.key, o.value)
	}
	b.p.FsconfigCreate(fs)
	mount := b.p.Fsmount(name, fs, attributes)
	b.p.Mkdirat(b.dev, name, 0o755)
	b.p.MoveMount(mount, b.p.Openat(name, b.dev, name, openPath|unix.O_DIRECTORY, 0))
	return mount
}

func (b *Builder) newFile(dir program.Arg, name string) program.Arg {
	return b.p.Openat(name, dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o666)
}

// deviceTarget makes the file in /dev, which holds nothing but what bryo made.
func (b *Builder) deviceTarget(target string) program.Arg {
	name := strings.TrimPrefix(target, "/dev/")
	for _, d := range parents("/" + name) {
		b.p.Mkdirat(b.dev, d, 0o755)
		b.p.Tolerate(program.Errno(unix.EEXIST))
	}
	b.p.Mknodat(b.dev, name, unix.S_IFREG|0o666, 0)
	b.p.Tolerate(program.Errno(unix.EEXIST))
	return b.p.Openat2(path.Base(name), b.dev, name, openPath, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
}

// Pts is the container's /dev/pts, once Build is done.
func (b *Builder) Pts() program.Arg { return b.pts }

// Console makes the first pseudo-terminal of /dev/pts the container's
// /dev/console.
func (b *Builder) Console() {
	b.p.Step("make", "/dev/console")
	slave := b.p.OpenTree("console", b.pts, "0", cloneTree)
	b.p.MoveMount(slave, b.console)
}
