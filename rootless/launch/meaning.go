package launch

import (
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless/program"
)

// meaning says what an error of a step means where the errno alone would
// mislead.
func meaning(f *program.Failure) string {
	verb, _, _ := strings.Cut(f.Step, " ")
	for _, m := range []struct {
		errno     unix.Errno
		verb      string // "" for every step
		beginning string // of the object
		text      string
	}{
		{unix.EMFILE, "", "", "too many open files\nfix: raise your limit: ulimit -n 1024"},
		{unix.ESTALE, "clone", "", "it was replaced by another file while bryo started\nfix: try again"},
		{unix.ESRCH, "tie", "", "bryo was ended meanwhile"},
		{unix.EINVAL, "clone", "", "other file systems are mounted below it, which cannot be left out\nfix: leave the option bind away, or mount what is needed by itself"},
		{unix.EINVAL, "mount", "", "the source is a file and the target a directory\nfix: give the file's own path as target"},
		{unix.ELOOP, "mount", "/proc", "it is a symbolic link in the root file system, where bryo follows none"},
		{unix.ELOOP, "mount", "/sys", "it is a symbolic link in the root file system, where bryo follows none"},
		{unix.ELOOP, "mount", "/dev", "it is a symbolic link in the root file system, where bryo follows none"},
		{unix.EROFS, "set", "user/max_user_namespaces", "user namespaces cannot be limited under this /proc\nfix: allow them inside with --nest"},
		{unix.EXDEV, "enter", "", "it does not lie in the root file system"},
	} {
		object, _ := strings.CutPrefix(f.Object, "sysctl ")
		if unix.Errno(f.Errno) == m.errno && (m.verb == "" || m.verb == verb) && strings.HasPrefix(object, m.beginning) {
			return m.text
		}
	}
	return ""
}
