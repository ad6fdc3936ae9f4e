package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/fsroot"
	"bryo/fsroot/tree"
	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/tty"
)

// Files of a container belong to subordinate ids, which only a process in a user
// namespace with its map can read and give away. That process is bryo again, in
// a namespace beside the container's: the container cannot see it or trace it.
// All it has of the container is a descriptor of its root.
//
//	bryo cp, as the user                 bryo copy, as root of the map
//	the user's own files  <== tar ==>    the container's root, by descriptor

// inContainer is CONTAINER:PATH.
type inContainer struct{ name, path string }

// parseCp tells CONTAINER:PATH from a path of the host: that one has a slash before
// any colon, or no colon.
func parseCp(text string) (c inContainer, is bool) {
	name, path, found := strings.Cut(text, ":")
	if !found || strings.Contains(name, "/") || name == "" {
		return c, false
	}
	return inContainer{name, path}, true
}

const cpAbout = `One of FROM and TO is CONTAINER:PATH, which is looked up as the container would; the other is a path here, or -, a tar stream.
A path here with a colon in it is written with a slash before that, as ./a:b.
As with cp, what is copied to a directory goes into it, and FROM/. is what is in FROM.

Files keep their modes and times.
Here they belong to you; inside, what is yours is root's.
Of the links in the path here only root's are followed, and one at the end that a slash comes behind: the others may come from a container.
A tar stream has ids as they are inside, also those that --squash makes up.
Devices, pipes, sockets and what the kernel makes up, as /proc, are left out; where the container does not run, so are mounts and volumes.`

func cpExamples() []string {
	return []string{
		"bryo cp web:/var/log/nginx logs",
		"bryo cp ./site web:/srv",
		"bryo cp web:/etc - | tar -t",
		"tar -c site | bryo cp - web:/srv",
	}
}

// runCp copies files out of a container or into it.
func runCp(args []string, s streams) int {
	flags := verbFlags("cp", s)
	flags.SetInterspersed(false)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	const operands = 2
	if flags.NArg() != operands {
		return report(s, errors.New("cp takes what is copied, and where to\nfix: bryo cp CONTAINER:PATH PATH, or bryo cp PATH CONTAINER:PATH"))
	}
	from, out := parseCp(flags.Arg(0))
	to, in := parseCp(flags.Arg(1))
	var code int
	var err error
	switch {
	case out && from.path == "", in && to.path == "":
		err = errors.New("the path in the container is empty\nfix: write CONTAINER:PATH, as web:/etc")
	case out && in:
		err = errTwoContainers(flags.Arg(0), flags.Arg(1))
	case out:
		code, err = copyOut(from, flags.Arg(1), s)
	case in:
		code, err = copyIn(flags.Arg(0), to, s)
	default:
		err = errors.New("neither is in a container\nfix: write CONTAINER:PATH for the one that is")
	}
	if err != nil {
		return report(s, err)
	}
	return code
}

// errTwoContainers tells how to copy between containers, or how a file here is
// written that looks as if it were in one.
func errTwoContainers(from, to string) error {
	for _, path := range []string{from, to} {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("both are in containers, as they are written\nfix: write the file here as %s", quoted([]string{"./" + path})[0])
		}
	}
	return fmt.Errorf("both are in containers\nfix: bryo cp %s - | bryo cp - %s", from, to)
}

func copyOut(from inContainer, to string, s streams) (int, error) {
	if to == "-" {
		if tty.Is(int(s.out.Fd())) {
			return 0, errors.New("an archive is not for a terminal\nfix: redirect it, as: bryo cp CONTAINER:PATH - > files.tar")
		}
		return copyStream(from, s.out, "archive", nameOf(from.path))
	}
	dir, at, err := place(to, from.path)
	if err != nil {
		return 0, err
	}
	defer unix.Close(dir)
	read, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer read.Close()
	copier, err := startCopier(from, write, "pack", ".")
	if err = errors.Join(err, write.Close()); err != nil {
		return 0, err
	}
	err = tree.Beneath(dir).Unpack(read, at, tree.Unpacking{Skipped: skipped(s), Holes: true})
	_ = read.Close() // a copier that is not done ends
	code, waitErr := copier.await()
	if code != exitOK && errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the copier has told why there is no more
	}
	return code, errors.Join(err, waitErr)
}

// place opens the directory of the host that files go to, and says below which
// name; "" for the directory itself.
func place(to, from string) (dir int, at string, err error) {
	if to == "" {
		return -1, "", errors.New("the path is empty; was a variable not set?")
	}
	if isStream(to) {
		return -1, "", fmt.Errorf("%s is no place for files\nfix: for a tar stream write -, as: bryo cp CONTAINER:PATH - | tar -xO", to)
	}
	if dir, err = tree.OpenNamed(to); err == nil {
		if contents(from) {
			return dir, "", nil
		}
		return dir, nameOf(from), nil
	}
	above, at := filepath.Split(strings.TrimRight(to, "/"))
	switch {
	case contents(from) && errors.Is(err, tree.ErrLink): // a file takes the place of a link, a directory does not
	case !strings.HasSuffix(to, "/") || contents(from):
		dir, err = openAbove(above)
	}
	if err != nil {
		return -1, "", placeError(err)
	}
	return dir, at, nil
}

// isStream says whether a path is a device, a pipe or a socket, or stands for a
// descriptor: what is copied would take its place instead of going there.
func isStream(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	dir := filepath.Dir(filepath.Clean(path))
	named := dir == "/dev" || dir == "/dev/fd" || dir == "/proc/self/fd"
	return !info.IsDir() && (named || !info.Mode().IsRegular())
}

// openAbove opens the directory that a name is in, as filepath.Split gives it:
// the slash at its end says nothing about a link.
func openAbove(above string) (int, error) {
	switch trimmed := strings.TrimRight(above, "/"); {
	case trimmed != "":
		return tree.OpenNamed(trimmed)
	case above != "":
		return tree.OpenNamed("/")
	default:
		return tree.OpenNamed(".")
	}
}

func placeError(err error) error {
	fix := "make the directory first"
	if errors.Is(err, tree.ErrLink) {
		fix = "name where it leads; only a link at the end with a slash behind it, and root's, are followed"
	}
	return fmt.Errorf("%w\nfix: %s", err, fix)
}

// contents says that what is in a directory is meant, as with cp(1).
func contents(path string) bool {
	return strings.HasSuffix(path, "/.") || path == "." || strings.Trim(path, "/") == ""
}

// nameOf is the last name of a path, or "." for a root directory.
func nameOf(path string) string {
	if name := filepath.Base(filepath.Clean("/" + path)); name != "/" {
		return name
	}
	return "."
}

func copyIn(from string, to inContainer, s streams) (int, error) {
	if from == "-" {
		return copyStream(to, s.in, "extract", ".")
	}
	absolute, err := filepath.Abs(from)
	if err != nil {
		return 0, err
	}
	if _, err := os.Lstat(from); err != nil {
		return 0, err
	}
	inside := nameOf(absolute)
	if contents(from) {
		inside = "."
	}
	dir, name, err := taken(from)
	if errors.Is(err, tree.ErrLink) {
		err = placeError(err)
	}
	if err != nil {
		return 0, err
	}
	defer unix.Close(dir)
	return feedCopier(tree.Beneath(dir), name, to, inside, s)
}

// taken opens the directory of the host that files come from, and says which of
// its names they have.
func taken(from string) (dir int, name string, err error) {
	above, name := filepath.Split(from)
	if contents(from) || name == "" || name == ".." {
		dir, err = tree.OpenNamed(from)
		return dir, ".", err
	}
	dir, err = openAbove(above)
	return dir, name, err
}

func feedCopier(from tree.Tree, name string, to inContainer, inside string, s streams) (int, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer write.Close()
	copier, err := startCopier(to, read, "unpack", inside)
	if err = errors.Join(err, read.Close()); err != nil {
		return 0, err
	}
	err = from.Pack(write, name, ".", tree.Packing{Owner: copier.owner, Skipped: skipped(s), Holes: true})
	if err != nil && !errors.Is(err, unix.EPIPE) {
		return 0, errors.Join(err, copier.Kill()) // or half an archive would look whole
	}
	_ = write.Close()
	code, waitErr := copier.await()
	if code != exitOK {
		err = nil // the copier ended first, and has told why
	}
	return code, errors.Join(err, waitErr)
}

// copyStream has the copier read or write an archive of the user's.
func copyStream(c inContainer, stream *os.File, how, name string) (int, error) {
	copier, err := startCopier(c, stream, how, name)
	if err != nil {
		return 0, err
	}
	return copier.await()
}

func skipped(s streams) func(path, why string) {
	return func(path, why string) { warn(s, []string{visible(path) + " is left out: " + why}) }
}

// copier is a process under a container's map of ids.
type copier struct {
	*launch.Container

	maps idmap.Maps
}

// owner is who a file of the host belongs to inside: root, if that is nobody
// there.
func (c *copier) owner(uid, gid uint32) (insideUID, insideGID int) {
	if id, mapped := c.maps.UID.ToContainer(uid); mapped {
		insideUID = int(id)
	}
	if id, mapped := c.maps.GID.ToContainer(gid); mapped {
		insideGID = int(id)
	}
	return insideUID, insideGID
}

// await returns the copier's exit code. One that was killed has told nothing.
func (c *copier) await() (int, error) {
	code, err := c.Wait()
	if err == nil && code > signalExitBase {
		err = fmt.Errorf("signal %d ended the copy, which is not whole", code-signalExitBase)
	}
	return code, err
}

func startCopier(c inContainer, stream *os.File, how, name string) (*copier, error) {
	entry, record, err := oneContainer(c.name)
	if err != nil {
		return nil, err
	}
	plan, err := entry.Plan()
	if err != nil {
		return nil, err
	}
	root, stacked, err := copied(entry, record, plan, c.path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	facts, err := host.ProbeIDs(&rootless.Spec{})
	if err != nil {
		return nil, err
	}
	var inherited [2]int // without O_CLOEXEC
	for i, fd := range []int{root, int(stream.Fd())} {
		if inherited[i], err = unix.Dup(fd); err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		defer unix.Close(inherited[i])
	}
	mapped := rootless.CompileMapped(plan, facts, nil, os.Environ())
	if stacked {
		stack := *plan.Root.Stack
		stack.Top = nil // it is the container's by now
		mapped.Root = fsroot.Plan{Root: plan.Root.Root, Stack: &stack}
		inherited[0] = launch.StackFD
	}
	mapped.Process.Argv = []string{"bryo", copyVerb, how, strconv.Itoa(inherited[0]), strconv.Itoa(inherited[1]), c.path, name, notedMap(plan)}
	container, err := launch.Unshare(mapped)
	if err != nil {
		return nil, err
	}
	return &copier{container, plan.IDs.Maps}, container.Deliver()
}

// notedMap is the map of ids of a container whose owners are notes, and "" of others.
func notedMap(plan *rootless.Plan) string {
	if plan.Squash == nil {
		return ""
	}
	return plan.IDs.Maps.Text()
}
