package launch

import (
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// meaning says what an error of a step means where the errno alone would
// mislead.
func meaning(f *program.Failure) string {
	for _, m := range meanings() {
		verb, _, _ := strings.Cut(f.Step, " "+f.Object)
		if unix.Errno(f.Errno) == m.errno && (m.verb == "" || m.verb == verb) && (m.object == "" || m.object == f.Object) && (m.call == "" || m.call == f.Call) {
			return m.text
		}
	}
	return ""
}

// told is an errno of a step, "" standing for every verb, object or call.
type told struct {
	errno              unix.Errno
	verb, object, call string
	text               string
}

func meanings() []told {
	const linked = "it is a symbolic link in the root file system, where bryo follows none"
	return []told{
		{unix.EMFILE, "", "", "", "too many open files\nfix: raise your limit: ulimit -n 1024"},
		{unix.ESTALE, "clone", "", "", "it was replaced by another file while bryo started\nfix: try again"},
		{unix.ESRCH, "tie", "", "", "bryo was ended meanwhile"},
		{unix.EINVAL, "clone", "", "open_tree", "other file systems are mounted below it, which cannot be left out\nfix: leave the option bind away, or mount what is needed by itself"},
		{unix.EINVAL, "mount", "", "move_mount", "the source is a file and the target a directory\nfix: give the file's own path as target"},
		{unix.EINVAL, "make", "", "move_mount", "the root file system has a directory there, where a file belongs"},
		{unix.ENOENT, "mount", "", "openat2", "a link on the way there leads to nothing in the root file system"},
		{unix.ENOENT, "make", "", "openat2", "a link on the way there leads to nothing in the root file system"},
		{unix.ELOOP, "mount", "/proc", "", linked},
		{unix.ELOOP, "mount", "/sys", "", linked},
		{unix.ELOOP, "mount", "/dev", "", linked},
		{unix.ENOENT, "allow", "", "", "it is not there in the container\nfix: name a path that is"},
		{unix.ELOOP, "allow", "", "", "a symbolic link is on the way, which could lead the rule elsewhere\nfix: name the path that it leads to"},
		{unix.EROFS, "set sysctl", "user/max_user_namespaces", "", "user namespaces cannot be limited under this /proc\nfix: allow them inside with --nest"},
		{unix.EOPNOTSUPP, "make", "", "", "this kernel has neither a usable /dev/net/tun nor veth pairs for users\nfix: have /dev/net/tun opened (chmod 0666), or say --net none or --net host"},
		{unix.EXDEV, "enter working directory", "", "", "it does not lie in the root file system"},
	}
}
