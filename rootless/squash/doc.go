// Package squash makes one id look like many: in a container whose map has one id
// alone, files have the owners that chown(2) gave them, and processes the users
// and groups that they became. Nobody gets a right by it that root inside had
// not, and nobody loses one: users in it are names, and no boundary.
//
// The kernel asks for each such call (seccomp_unotify(2)), and a process beside
// the container answers:
//
//	command                    kernel                  this process
//	chown(path, 33, 33) -----> stops it -------------> reads path in the command's memory,
//	                                                   looks it up as the command would,
//	                                                   notes 33:33 with the file
//	0 <----------------------- lets it go on <-------- answers
//
// That process is in the container's user and mount namespaces, and its root is
// the container's: where something goes wrong with a path, it is still one of
// the container's. It is in none of its PID namespaces, so that nobody inside can
// name it. What it has no answer for the kernel does as ever, which is no more
// than what the command may do. When it is killed, the calls are not there any
// more (ENOSYS).
//
// Until a question is read, and before Linux 5.19 until it is answered, a signal
// breaks the call off, as it does those that wait: it is made again (SA_RESTART), which
// all but mknod(2) bear, or fails with EINTR.
//
// LD_PRELOAD, as fakeroot(1) has it, does not reach static programs and is lost
// with the environment; ptrace(2), as PRoot has it, stops each process at every
// signal and execve besides. With seccomp all other calls cost nothing.
//
// Owners are noted by package owner; users are this process's to know. What it
// tells them by is the soft limit RLIMIT_LOCKS, which the kernel hands on to
// children and over execve, and has had no use for since Linux 2.4: it is a number in
// a list of users. A command that changes its limit takes another name.
package squash
