package squash

import "golang.org/x/sys/unix"

// Descriptors that the process is started with.
const (
	ListenerFD = 3 // where questions are read
	ProcFD     = 4 // the host's /proc
)

// Caps are what the process has of what root inside has: what is for files, and
// what it takes besides, to look at the memory and the files of root's processes
// and to look up paths in their roots.
func Caps(roots uint64) uint64 {
	const files = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID
	return roots&files | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_SYS_CHROOT
}
