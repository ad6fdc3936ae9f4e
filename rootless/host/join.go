package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/ns"
)

// join opens the namespaces that are to be joined, in joining order. All of
// them need the user namespace that owns them, which is joined first even if
// it was not named.
func join(set ns.Set) (joined []rootless.Joined, ids idmap.Choice, err error) {
	for _, kind := range set.Joined() {
		fd, err := openNamespace(kind, set[kind])
		if err != nil {
			return nil, ids, err
		}
		joined = append(joined, rootless.Joined{Kind: kind, FD: fd})
	}
	if len(joined) == 0 {
		return nil, ids, nil
	}
	first := joined[0].Kind
	if first != ns.User {
		owner, err := owner(joined[0], set[first])
		if err != nil {
			return nil, ids, err
		}
		joined = append([]rootless.Joined{owner}, joined...)
	}
	ids, err = mapsOf(set[first].PID)
	return joined, ids, err
}

func openNamespace(kind ns.Kind, source ns.Source) (int, error) {
	path := source.Path
	if source.PID != 0 {
		path = fmt.Sprintf("/proc/%d/ns/%s", source.PID, kind.File())
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("--%s %s: %s: %w%s", kind.Flag(), source, path, err, joinHint(err))
	}
	got, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || uint64(got) != kind.CloneFlag() {
		return -1, errors.Join(fmt.Errorf("--%s %s: %s is no %s namespace\nfix: name a process, or a file like /proc/PID/ns/%s",
			kind.Flag(), source, path, kind.File(), kind.File()), unix.Close(fd))
	}
	return fd, nil
}

func joinHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH):
		return "\nfix: the namespace is gone, or never was; name a process that runs, by its id on the host"
	case errors.Is(err, fs.ErrPermission):
		return "\nfix: join a container of your own; this process is not yours"
	default:
		return ""
	}
}

// owner is the user namespace that owns another one: ioctl_ns(2).
func owner(of rootless.Joined, source ns.Source) (rootless.Joined, error) {
	fd, err := unix.IoctlRetInt(of.FD, unix.NS_GET_USERNS)
	if err != nil {
		return rootless.Joined{}, fmt.Errorf("--%s %s: its user namespace: %w\nfix: join a namespace of a container of your own",
			of.Kind.Flag(), source, err)
	}
	unix.CloseOnExec(fd)
	var theirs, ours unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &theirs), unix.Stat("/proc/self/ns/user", &ours)); err != nil {
		return rootless.Joined{}, os.NewSyscallError("stat", err)
	}
	if theirs.Ino == ours.Ino {
		return rootless.Joined{}, errors.Join(fmt.Errorf("--%s %s: it belongs to the host, and only root may join it\nfix: say --%s host to stay in yours, or join a container's",
			of.Kind.Flag(), source, of.Kind.Flag()), unix.Close(fd))
	}
	return rootless.Joined{Kind: ns.User, FD: fd}, nil
}

// mapsOf reads the maps of a process's user namespace. Without a process
// (pid 0) root is taken to be mapped.
func mapsOf(pid int) (idmap.Choice, error) {
	root := idmap.Map{{Inside: 0, Outside: 0, Count: 1}}
	choice := idmap.Choice{Maps: idmap.Maps{UID: root, GID: root}}
	if pid == 0 {
		return choice, nil
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	for file, m := range map[string]*idmap.Map{"uid_map": &choice.Maps.UID, "gid_map": &choice.Maps.GID} {
		data, err := os.ReadFile(dir + file)
		if err != nil {
			return choice, err
		}
		if *m, err = idmap.ParseLines(string(data)); err != nil {
			return choice, fmt.Errorf("%s%s: %w", dir, file, err)
		}
	}
	word, err := os.ReadFile(dir + "setgroups")
	choice.Setgroups = strings.TrimSpace(string(word)) == "allow"
	return choice, err
}
