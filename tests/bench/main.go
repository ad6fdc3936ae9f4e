package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	// Processes are to die with this thread, see starter.
	runtime.LockOSThread()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	stages := map[string]func(context.Context, plan, io.Writer) error{"world": world, "measure": measure, "network": networkStage}
	if len(args) == 2 && stages[args[0]] != nil {
		p := plan{}
		err := json.Unmarshal([]byte(args[1]), &p)
		if err == nil {
			err = stages[args[0]](ctx, p, errs)
		}
		return exitCode(err, errs)
	}
	if len(args) == 1 && args[0] == "agent" {
		_, _ = unix.Setsid() // as bryo's containers are, if the agent is not yet
		return exitCode(agent(os.Stdin, os.Stdout), errs)
	}
	if len(args) > 0 && args[0] == "calls" {
		return exitCode(calls(args[1:], out), errs)
	}
	p, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return 2
	}
	return exitCode(conduct(ctx, p, out, errs), errs)
}

func exitCode(err error, errs io.Writer) int {
	if err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return 1
	}
	return 0
}

// plan is what is to be measured, and where.
type plan struct {
	Only     []string
	Rounds   int
	Sleepers []int
	Tool     string // bryo
	Busybox  string
	Dir      string // of the site
	User     string
	UID, GID uint32
	Mounts   int // more than the machine has
	Root     bool
	Net      netPlan
}

// names are the sections that -only may name.
func names() []string {
	return []string{"start", "mounts", "sleepers", "memory", "filter", "detached", "unpack", "image", "net"}
}

func (p plan) wants(name string) bool { return slices.Contains(p.Only, name) }

func parse(args []string, errs io.Writer) (plan, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errs)
	only := flags.String("only", strings.Join(names(), ","), "which `tables`")
	rounds := flags.Int("rounds", 60, "how often each start is timed")
	sleepers := flags.String("sleepers", "100,1000", "how many sleepers are started, `sizes`")
	network := netFlags(flags)
	tool := flags.String("tool", ".bin/bryo", "`path` of bryo")
	if err := flags.Parse(args); err != nil {
		return plan{}, err
	}
	p := plan{Only: strings.Split(*only, ","), Rounds: *rounds}
	for _, name := range p.Only {
		if !slices.Contains(names(), name) {
			return plan{}, fmt.Errorf("-only %s: not one of %s", name, strings.Join(names(), ", "))
		}
	}
	var err error
	if p.Sleepers, err = crowdSizes(*sleepers); err != nil {
		return plan{}, err
	}
	if p.Rounds < 1 || flags.NArg() > 0 {
		return plan{}, errors.New("-rounds needs a positive number, and there are no arguments")
	}
	if p.Net, err = network(); err != nil {
		return plan{}, err
	}
	p.Tool, err = filepath.Abs(*tool)
	return p, err
}

func crowdSizes(words string) ([]int, error) {
	sizes := []int{}
	for word := range strings.SplitSeq(words, ",") {
		size, err := strconv.Atoi(word)
		if err != nil || size < 1 || size > 10000 {
			return nil, fmt.Errorf("-sleepers %s: not a number from 1 to 10000", word)
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}

// conduct runs the measuring processes and prints what they report.
func conduct(ctx context.Context, p plan, out, errs io.Writer) (err error) {
	if p, err = unprivileged(p); err != nil {
		return err
	}
	if p.Dir, err = os.MkdirTemp("", "bryo-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(p.Dir)) }()
	if p.Busybox, err = staged(&p); err != nil {
		return err
	}
	if err := writeVersions(out, machine()); err != nil {
		return err
	}
	notes := []string{}
	for i, w := range worlds(p) {
		err := perform(ctx, w, errs, func(r report) error {
			for _, note := range r.Notes {
				if !slices.Contains(notes, note) {
					notes = append(notes, note)
				}
			}
			return r.write(out, i == 0)
		})
		if err != nil {
			return err
		}
	}
	if !p.Root && p.wants("mounts") {
		if err := noMounts().write(out); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "\n* %s\n", strings.Join(notes, "\n* "))
	return err
}

// unprivileged says as whom to measure.
func unprivileged(p plan) (plan, error) {
	p.Root = os.Geteuid() == 0
	name := os.Getenv("BRYO_TEST_USER")
	if name == "" {
		name = "bryo-test"
	}
	who, err := user.Current()
	if p.Root {
		who, err = user.Lookup(name)
	}
	if err != nil {
		return p, fmt.Errorf("find the user to measure as: %w", err)
	}
	uid, err1 := strconv.ParseUint(who.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(who.Gid, 10, 32)
	p.User, p.UID, p.GID = who.Username, uint32(uid), uint32(gid)
	if p.Root && p.UID == 0 {
		return p, fmt.Errorf("the user to measure as, %s, is root", name)
	}
	return p, errors.Join(err1, err2)
}

// staged puts what is to be executed where the user may reach it, and returns
// the path of busybox.
func staged(p *plan) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	busybox, missing := lookup("busybox")
	if missing != "" {
		return "", errors.New("busybox for the root file system: " + missing)
	}
	if err := os.Chmod(p.Dir, 0o755); err != nil { //nolint:gosec // the root file system's user ids must reach it
		return "", err
	}
	bin := filepath.Join(p.Dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return "", err
	}
	if err := copyFile(self, filepath.Join(bin, "bench")); err != nil {
		return "", err
	}
	tools, err := filepath.Glob(p.Tool + "*")
	for _, from := range tools {
		if err := copyFile(from, filepath.Join(bin, filepath.Base(from))); err != nil {
			return "", err
		}
	}
	if _, missing := os.Stat(p.Tool); missing == nil {
		p.Tool = filepath.Join(bin, filepath.Base(p.Tool))
	}
	if err == nil && p.Root {
		err = os.Chown(p.Dir, int(p.UID), int(p.GID))
	}
	return busybox, err
}

// machine describes what the figures were taken on.
func machine() []version {
	name := unix.Utsname{}
	_ = unix.Uname(&name)
	return []version{
		{"kernel", unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:])},
		{"processors", strconv.Itoa(runtime.NumCPU())},
	}
}

func noMounts() section {
	return section{
		Title: mountsTitle, Unit: "ms",
		Rows: []row{{Tool: "all", Missing: "only root can make mounts for a private mount namespace"}},
	}
}

const (
	moreMounts  = 1000
	mountsTitle = "start to exit of /bin/true, with 1000 more mounts on the host"
)
