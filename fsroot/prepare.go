package fsroot

import (
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// Builder adds the system calls that make a Plan real. Its fields are
// descriptors in the process that carries them out.
type Builder struct {
	plan *Plan
	p    *program.Program

	rootAttributes uint64        // of the root when it is attached
	attachPoint    program.Arg   // where the root is attached before pivot_root
	stacked        program.Arg   // plan.Stack.Dir
	root           program.Arg   // the root file system: detached, then attached, then /
	proc, sys      program.Arg   // detached until the root is there
	nodes          []program.Arg // as nodes()
	devices        []program.Arg // as plan.Devices
	mounts         []program.Arg // as plan.Mounts; unset for a tmpfs
	entries        []program.Arg // as plan.Entries; unset for a link
	layers         []program.Arg // overlays of them
	dev            program.Arg
	null           program.Arg   // /dev/null, attached
	store          program.Arg   // see makeStore
	files          []program.Arg // as plan.Files
	pts            program.Arg
	shm            program.Arg // HostIPC: the host's /dev/shm
	console        program.Arg // Console: the file that is covered by it
}

// NewBuilder adds to p.
func NewBuilder(plan *Plan, p *program.Program) *Builder { return &Builder{plan: plan, p: p} }

const (
	cloneTree = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE
	openPath  = unix.O_PATH | unix.O_CLOEXEC
)

// Prepare takes what comes from the host: the root, sources and devices as
// detached clones, a fresh proc and sysfs. It runs before the process changes
// its ids, which takes the user's own access to 0700 directories away, and
// needs no mapped id.
func (b *Builder) Prepare() {
	b.prepareRoot()
	b.prepareEntries()
	for i := range b.plan.Mounts {
		b.prepareMount(&b.plan.Mounts[i])
	}
	for _, n := range nodes() {
		b.nodes = append(b.nodes, b.cloneNode(n))
	}
	for _, d := range b.plan.Devices {
		b.p.Step("clone", d.Source)
		b.devices = append(b.devices, b.p.OpenTree("device", program.CWD(), d.Source, cloneTree))
		b.restrict(b.devices[len(b.devices)-1], deviceAttributes)
		b.expectType(b.devices[len(b.devices)-1], unix.S_IFCHR)
	}
	if b.plan.HostIPC {
		b.p.Step("clone", "/dev/shm")
		b.shm = b.p.OpenTree("shm", program.CWD(), "/dev/shm", cloneTree)
		b.restrict(b.shm, kernelAttributes)
	}
	b.prepareProc()
	b.prepareSys()
}

func (b *Builder) prepareRoot() {
	pl, p := b.plan, b.p
	p.Step("open", pl.Root.Path)
	b.attachPoint = p.Openat("root", program.CWD(), pl.Root.Path, openPath|unix.O_DIRECTORY, 0)
	p.Step("clone", pl.Root.Path)
	b.root = p.OpenTree("root", program.CWD(), pl.Root.Path, cloneTree)
	b.expectSame(b.root, pl.Root.ID)
	if pl.Stack != nil {
		b.prepareStack()
		return
	}
	attributes := b.plan.attributes()
	if pl.Host || pl.Layer {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	b.rootAttributes = attributes
	if pl.ReadOnly && attributes&unix.MOUNT_ATTR_RDONLY == 0 && !pl.Legacy {
		// All below becomes read-only now, the root itself when it is complete.
		b.restrict(b.root, attributes|unix.MOUNT_ATTR_RDONLY)
		p.MountSetattr(b.root, 0, unix.MOUNT_ATTR_RDONLY, 0, 0)
		p.Tolerate(program.Errno(unix.EPERM)) // it is read-only on the host
		return
	}
	b.restrict(b.root, attributes)
}

// prepareEntries takes the parts that a root is spread into.
func (b *Builder) prepareEntries() {
	for _, e := range b.plan.Entries {
		if e.Link != "" {
			b.entries = append(b.entries, program.Arg{})
			continue
		}
		b.p.Step("clone", "/"+e.Name)
		path := strings.TrimSuffix(b.plan.Root.Path, "/") + "/" + e.Name
		entry := b.p.OpenTree("entry", program.CWD(), path, cloneTree)
		b.restrict(entry, b.plan.attributes()|unix.MOUNT_ATTR_RDONLY)
		b.entries = append(b.entries, entry)
	}
}

func (b *Builder) prepareMount(m *Attached) {
	if m.Type == Tmpfs {
		b.mounts = append(b.mounts, program.Arg{})
		return
	}
	b.p.Step("clone", m.Source)
	flags := uint64(cloneTree)
	if m.Shallow {
		flags &^= unix.AT_RECURSIVE
	}
	mount := b.p.OpenTree("source", program.CWD(), m.From.Path, flags)
	b.expectSame(mount, m.From.ID)
	b.restrict(mount, m.Attributes)
	b.mounts = append(b.mounts, mount)
}

// cloneNode takes a device of the host and makes sure that it is that device.
func (b *Builder) cloneNode(n node) program.Arg {
	b.p.Step("clone", "/dev/"+n.name)
	device := b.p.OpenTree(n.name, program.CWD(), "/dev/"+n.name, cloneTree)
	b.restrict(device, deviceAttributes)
	stat := b.expectType(device, unix.S_IFCHR)
	b.p.Compare(stat.Load(program.StatxDevice), ^uint64(0), uint64(n.major)|uint64(n.minor)<<32, program.Errno(unix.ENODEV))
	return device
}

func (b *Builder) expectType(fd program.Arg, format uint64) program.Buffer {
	stat := b.p.Statx(fd)
	b.p.Compare(stat.Load(program.StatxMode), unix.S_IFMT, format, program.Errno(unix.ENODEV))
	return stat
}

// expectSame fails when the path now leads to another file than the parent
// opened.
func (b *Builder) expectSame(fd program.Arg, id FileID) {
	stat := b.p.Statx(fd)
	b.p.Compare(stat.Load(program.StatxOn), ^uint64(0), uint64(id.Major)|uint64(id.Minor)<<32, program.Errno(unix.ESTALE))
	b.p.Compare(stat.Load(program.StatxInode), ^uint64(0), id.Inode, program.Errno(unix.ESTALE))
}

// expectOther fails when a path has led, through links, to the directory that it
// must not: what is mounted on the root is the root of whoever enters later.
func (b *Builder) expectOther(fd, than program.Arg) {
	const differ = program.Errno(unix.EEXIST)
	stat, not := b.p.Statx(fd), b.p.Statx(than)
	var others []program.Label
	for _, at := range []int{program.StatxInode, program.StatxOn} {
		b.p.Same(stat.Load(at), not.Load(at), differ)
		others = append(others, b.p.SkipOn(differ))
	}
	b.p.Compare(program.Num(0), 1, 1, program.Errno(unix.EBUSY))
	for _, l := range others {
		b.p.Land(l)
	}
}

// restrict sets attributes on a detached mount and all below it, and cuts it
// off from the host's mount events. Without mount_setattr that is left to
// attachWith.
func (b *Builder) restrict(mount program.Arg, attributes uint64) {
	if !b.plan.Legacy {
		b.p.MountSetattr(mount, attributes, 0, unix.MS_PRIVATE, unix.AT_RECURSIVE)
	}
}

// open begins a new file system, which mountinfo shows under its kind's name.
func (b *Builder) open(kind string) program.Arg {
	fs := b.p.Fsopen(kind)
	b.p.FsconfigString(fs, "source", kind)
	return fs
}

func (b *Builder) prepareProc() {
	b.p.Step("mount", "/proc")
	if b.plan.Proc == HostProc {
		b.proc = b.p.OpenTree("proc", program.CWD(), "/proc", cloneTree)
		b.restrict(b.proc, kernelAttributes)
		return
	}
	fs := b.open("proc")
	b.p.FsconfigCreate(fs)
	b.proc = b.p.Fsmount("proc", fs, kernelAttributes)
}

// deviceAttributes are those of the host's devices.
const deviceAttributes = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC

// kernelAttributes are those of file systems that only show the kernel.
const kernelAttributes = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// prepareSys leaves sys unset where /sys is to be empty, and where the kernel
// refuses a sysfs because the one outside is covered (inside a container).
func (b *Builder) prepareSys() {
	if b.plan.Sys == EmptySys {
		return
	}
	b.p.Step("mount", "/sys")
	fs := b.open("sysfs")
	b.p.FsconfigCreate(fs)
	b.sys = b.p.Fsmount("sys", fs, kernelAttributes|unix.MOUNT_ATTR_RDONLY)
	b.p.Tolerate(program.Errno(unix.EPERM))
}
