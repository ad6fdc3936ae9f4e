package program

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// flag is a bit, or a value, with the name that the man pages give it.
type flag struct {
	bits uint64
	name string
}

// flagTable is what the listing knows of a style's names.
func flagTable(s style) []flag {
	switch s { //nolint:exhaustive // the rest is in moreFlags
	case openFlags:
		return []flag{
			{unix.O_RDWR, "O_RDWR"},
			{unix.O_WRONLY, "O_WRONLY"},
			{unix.O_CREAT, "O_CREAT"},
			{unix.O_EXCL, "O_EXCL"},
			{unix.O_TRUNC, "O_TRUNC"},
			{unix.O_APPEND, "O_APPEND"},
			{unix.O_NONBLOCK, "O_NONBLOCK"},
			{unix.O_DIRECTORY, "O_DIRECTORY"},
			{unix.O_NOFOLLOW, "O_NOFOLLOW"},
			{unix.O_CLOEXEC, "O_CLOEXEC"},
			{unix.O_PATH, "O_PATH"},
			{unix.O_NOCTTY, "O_NOCTTY"},
		}
	case resolveFlags:
		return []flag{
			{unix.RESOLVE_NO_XDEV, "RESOLVE_NO_XDEV"},
			{unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS"},
			{unix.RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"},
			{unix.RESOLVE_BENEATH, "RESOLVE_BENEATH"},
			{unix.RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"},
		}
	case openTreeFlags:
		return []flag{
			{unix.OPEN_TREE_CLONE, "OPEN_TREE_CLONE"},
			{unix.OPEN_TREE_CLOEXEC, "OPEN_TREE_CLOEXEC"},
			{unix.AT_RECURSIVE, "AT_RECURSIVE"},
			{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
			{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
		}
	case atFlags:
		return []flag{
			{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"},
			{unix.AT_RECURSIVE, "AT_RECURSIVE"},
			{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
		}
	case fsopenFlags:
		return []flag{
			{unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC"},
		}
	case fsconfigCommand:
		return []flag{
			{unix.FSCONFIG_SET_FLAG, "FSCONFIG_SET_FLAG"},
			{unix.FSCONFIG_SET_STRING, "FSCONFIG_SET_STRING"},
			{unix.FSCONFIG_CMD_CREATE, "FSCONFIG_CMD_CREATE"},
		}
	case fsmountFlags:
		return []flag{
			{unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"},
		}
	default:
		return moreFlags(s)
	}
}

//nolint:funlen // a table
func moreFlags(s style) []flag {
	switch s { //nolint:exhaustive // the others have no names
	case mountAttributes:
		return []flag{
			{unix.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"},
			{unix.MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"},
			{unix.MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"},
			{unix.MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"},
			{unix.MOUNT_ATTR_NOATIME, "MOUNT_ATTR_NOATIME"},
			{unix.MOUNT_ATTR_STRICTATIME, "MOUNT_ATTR_STRICTATIME"},
			{unix.MOUNT_ATTR_NODIRATIME, "MOUNT_ATTR_NODIRATIME"},
			{unix.MOUNT_ATTR_NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"},
		}
	case propagationFlags:
		return []flag{
			{unix.MS_SHARED, "MS_SHARED"},
			{unix.MS_PRIVATE, "MS_PRIVATE"},
			{unix.MS_SLAVE, "MS_SLAVE"},
			{unix.MS_UNBINDABLE, "MS_UNBINDABLE"},
		}
	case moveMountFlags:
		return []flag{
			{unix.MOVE_MOUNT_F_EMPTY_PATH, "MOVE_MOUNT_F_EMPTY_PATH"},
			{unix.MOVE_MOUNT_T_EMPTY_PATH, "MOVE_MOUNT_T_EMPTY_PATH"},
		}
	case mountFlags:
		return []flag{
			{unix.MS_RDONLY, "MS_RDONLY"},
			{unix.MS_NOSUID, "MS_NOSUID"},
			{unix.MS_NODEV, "MS_NODEV"},
			{unix.MS_NOEXEC, "MS_NOEXEC"},
			{unix.MS_REMOUNT, "MS_REMOUNT"},
			{unix.MS_BIND, "MS_BIND"},
			{unix.MS_MOVE, "MS_MOVE"},
			{unix.MS_REC, "MS_REC"},
			{unix.MS_PRIVATE, "MS_PRIVATE"},
			{unix.MS_SLAVE, "MS_SLAVE"},
			{unix.MS_SHARED, "MS_SHARED"},
		}
	case umountFlags:
		return []flag{
			{unix.MNT_DETACH, "MNT_DETACH"},
		}
	case cloneFlags:
		return []flag{
			{unix.CLONE_VM, "CLONE_VM"},
			{unix.CLONE_VFORK, "CLONE_VFORK"},
			{unix.CLONE_PARENT, "CLONE_PARENT"},
			{unix.CLONE_PIDFD, "CLONE_PIDFD"},
			{unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
			{unix.CLONE_NEWNS, "CLONE_NEWNS"},
			{unix.CLONE_NEWPID, "CLONE_NEWPID"},
			{unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
			{unix.CLONE_NEWIPC, "CLONE_NEWIPC"},
			{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
			{unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
			{unix.CLONE_NEWNET, "CLONE_NEWNET"},
			{unix.CLONE_CLEAR_SIGHAND, "CLONE_CLEAR_SIGHAND"},
		}
	case prctlOption:
		return []flag{
			{unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"},
			{unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"},
			{unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"},
			{unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"},
			{unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"},
			{unix.PR_SET_NAME, "PR_SET_NAME"},
			{unix.PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER"},
			{unix.PR_SET_SECCOMP, "PR_SET_SECCOMP"},
			{unix.PR_SET_SECUREBITS, "PR_SET_SECUREBITS"},
		}
	case fcntlCommand:
		return []flag{
			{unix.F_SETFD, "F_SETFD"},
			{unix.F_DUPFD, "F_DUPFD"},
			{unix.F_SETFL, "F_SETFL"},
		}
	default:
		return nil
	}
}

// CompareName stands for a system call's name where a Compare failed.
const CompareName = "compare"

// callName is the system call's name; those that programs are made of have one.
func callName(nr int64) string {
	if nr == opCompare {
		return CompareName
	}
	for _, f := range callTable() {
		if int64(f.bits) == nr {
			return f.name
		}
	}
	return "syscall_" + strconv.FormatInt(nr, 10)
}

//nolint:funlen // a table
func callTable() []flag {
	return []flag{
		{unix.SYS_CAPGET, "capget"},
		{unix.SYS_CAPSET, "capset"},
		{unix.SYS_CHDIR, "chdir"},
		{unix.SYS_CLONE3, "clone3"},
		{unix.SYS_CLOSE, "close"},
		{unix.SYS_CLOSE_RANGE, "close_range"},
		{unix.SYS_DUP3, "dup3"},
		{unix.SYS_EVENTFD2, "eventfd2"},
		{unix.SYS_EXECVE, "execve"},
		{unix.SYS_EXECVEAT, "execveat"},
		{unix.SYS_EXIT_GROUP, "exit_group"},
		{unix.SYS_FACCESSAT, "faccessat"},
		{unix.SYS_FCHDIR, "fchdir"},
		{unix.SYS_FCHMOD, "fchmod"},
		{unix.SYS_FCHMODAT, "fchmodat"},
		{unix.SYS_FSETXATTR, "fsetxattr"},
		{unix.SYS_FCHOWN, "fchown"},
		{unix.SYS_FCNTL, "fcntl"},
		{unix.SYS_FSCONFIG, "fsconfig"},
		{unix.SYS_FSMOUNT, "fsmount"},
		{unix.SYS_FSOPEN, "fsopen"},
		{unix.SYS_FTRUNCATE, "ftruncate"},
		{unix.SYS_GETCWD, "getcwd"},
		{unix.SYS_GETPID, "getpid"},
		{unix.SYS_GETTID, "gettid"},
		{unix.SYS_GETUID, "getuid"},
		{unix.SYS_IOCTL, "ioctl"},
		{unix.SYS_KEYCTL, "keyctl"},
		{unix.SYS_KILL, "kill"},
		{unix.SYS_LANDLOCK_ADD_RULE, "landlock_add_rule"},
		{unix.SYS_LANDLOCK_CREATE_RULESET, "landlock_create_ruleset"},
		{unix.SYS_LANDLOCK_RESTRICT_SELF, "landlock_restrict_self"},
		{unix.SYS_LSEEK, "lseek"},
		{unix.SYS_MKDIRAT, "mkdirat"},
		{unix.SYS_MKNODAT, "mknodat"},
		{unix.SYS_MOUNT, "mount"},
		{unix.SYS_MOUNT_SETATTR, "mount_setattr"},
		{unix.SYS_MOVE_MOUNT, "move_mount"},
		{unix.SYS_MUNMAP, "munmap"},
		{unix.SYS_OPENAT, "openat"},
		{unix.SYS_OPENAT2, "openat2"},
		{unix.SYS_OPEN_TREE, "open_tree"},
		{unix.SYS_PIDFD_OPEN, "pidfd_open"},
		{unix.SYS_PIPE2, "pipe2"},
		{unix.SYS_PIVOT_ROOT, "pivot_root"},
		{unix.SYS_PPOLL, "ppoll"},
		{unix.SYS_PRCTL, "prctl"},
		{unix.SYS_PRLIMIT64, "prlimit64"},
		{unix.SYS_READ, "read"},
		{unix.SYS_READLINKAT, "readlinkat"},
		{unix.SYS_RT_SIGACTION, "rt_sigaction"},
		{unix.SYS_RT_SIGPROCMASK, "rt_sigprocmask"},
		{unix.SYS_SECCOMP, "seccomp"},
		{unix.SYS_SENDMSG, "sendmsg"},
		{unix.SYS_SETDOMAINNAME, "setdomainname"},
		{unix.SYS_SETGROUPS, "setgroups"},
		{unix.SYS_SETHOSTNAME, "sethostname"},
		{unix.SYS_SETNS, "setns"},
		{unix.SYS_SETRESGID, "setresgid"},
		{unix.SYS_SETRESUID, "setresuid"},
		{unix.SYS_SETSID, "setsid"},
		{unix.SYS_SOCKET, "socket"},
		{unix.SYS_STATX, "statx"},
		{unix.SYS_SYMLINKAT, "symlinkat"},
		{unix.SYS_UMASK, "umask"},
		{unix.SYS_UMOUNT2, "umount2"},
		{unix.SYS_UNLINKAT, "unlinkat"},
		{unix.SYS_SCHED_SETAFFINITY, "sched_setaffinity"},
		{unix.SYS_UNSHARE, "unshare"},
		{unix.SYS_WAIT4, "wait4"},
		{unix.SYS_WRITE, "write"},
	}
}
