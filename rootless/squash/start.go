package squash

import "golang.org/x/sys/unix"

// Descriptors that the process is started with.
const (
	ListenerFD = 3 // where questions are read
	ProcFD     = 4 // the host's /proc
)

// Caps are what it takes besides what root inside has: to look at the memory and
// the files of its processes, and to look up paths in their roots.
const Caps = 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_SYS_CHROOT
