package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"bryo/fsroot/fetch"
	"bryo/fsroot/registry"
	"bryo/rootless/confine"
)

// runFetch downloads an image to a layout, as the user that bryo is and in the
// user's own namespaces: it has no use for a map of ids, and is not given one.
func runFetch(layout int, report *os.File) int {
	var lock sync.Mutex
	events := json.NewEncoder(report)
	tell := func(e fetch.Event) {
		lock.Lock()
		defer lock.Unlock()
		_ = events.Encode(e) // bryo is gone, and so is the standard input
	}
	if err := fetchInto(layout, tell); err != nil {
		// Files of the layout are told as they are called in it.
		tell(fetch.Event{Error: strings.ReplaceAll(err.Error(), byNumber(layout)+"/", "")})
		return 1
	}
	tell(fetch.Event{Finished: true})
	return 0
}

func fetchInto(layout int, tell func(fetch.Event)) error {
	const most = 16 << 20
	var request fetch.Request
	if err := json.NewDecoder(io.LimitReader(os.Stdin, most)).Decode(&request); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { // ends with this process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(errors.New("bryo has ended"))
	}()
	source, err := registry.Open(ctx, &request)
	if err != nil {
		return err
	}
	if err := confineFetch(layout); err != nil {
		return fmt.Errorf("confine the download: %w", err)
	}
	root, err := os.OpenRoot(byNumber(layout))
	if err != nil {
		return err
	}
	defer root.Close()
	return source.Pull(ctx, root, tell)
}

// confineFetch leaves what a download needs: files below the layout, sockets of
// the internet, and for reading, the settings of the resolver. It is without a
// terminal to write to.
func confineFetch(layout int) error {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(null, unix.Stderr, 0)
	}
	if err != nil {
		return err
	}
	if err := confine.GiveUp(); err != nil {
		return err
	}
	// One set of rules for files, and one for the rest. Kernels before 5.13 have
	// none of it.
	rules := landlock.V6.BestEffort()
	resolver := []string{"/etc"}
	if target, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil {
		resolver = append(resolver, filepath.Dir(target))
	}
	if err := rules.RestrictPaths(landlock.RWDirs(byNumber(layout)), landlock.RODirs(resolver...)); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if err := rules.RestrictScoped(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	calls := confine.NetworkCalls(unix.AF_INET, unix.AF_INET6)
	for _, number := range append(fileCalls(), renameCalls()...) {
		calls = append(calls, confine.CallRule{Number: uint32(number), Action: confine.ActAllow})
	}
	return confine.AllowOnly(calls)
}

// fileCalls write an image layout.
func fileCalls() []int {
	return []int{
		unix.SYS_OPENAT, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_FCHMOD,
		unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FLOCK,
	}
}
