package main

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/squash"
)

func parseSquash(text string) (rootless.SquashChoice, error) {
	on, err := strconv.ParseBool(text)
	switch {
	case err != nil:
		return rootless.SquashAuto, errors.New("write --squash, or --squash=false")
	case on:
		return rootless.SquashOn, nil
	}
	return rootless.SquashOff, nil
}

// runSquash is not for people. It answers for a container whose owners and users
// are made up:
//
//	bryo squash UID GID GROUP,... DEVICES ROOT      who the command is, whether it may
//	                                   make those up, and has one root for all
func runSquash(args []string, s streams) int {
	const operands = 5
	if len(args) != operands {
		return usage(s, "bryo run --squash starts it; there is nothing to do by hand")
	}
	if err := answer(args); err != nil {
		return report(s, err)
	}
	return exitOK
}

func answer(args []string) error {
	for _, fd := range []int{squash.ListenerFD, squash.ProcFD} {
		unix.CloseOnExec(fd)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	uid, err := parseIDs(args[0])
	if err != nil {
		return err
	}
	gid, err := parseIDs(args[1])
	if err != nil {
		return err
	}
	var groups []uint32
	if args[2] != "" {
		if groups, err = parseIDs(strings.Split(args[2], ",")...); err != nil {
			return err
		}
	}
	devices, err := strconv.ParseBool(args[3])
	if err != nil {
		return err
	}
	oneRoot, err := strconv.ParseBool(args[4])
	if err != nil {
		return err
	}
	return squash.Serve(squash.ListenerFD, squash.ProcFD, squash.Options{
		Initial: squash.Credentials{UID: squash.Same(uid[0]), GID: squash.Same(gid[0]), Groups: squash.Groups(groups)},
		Devices: devices, OneRoot: oneRoot,
	})
}

func parseIDs(texts ...string) (ids []uint32, err error) {
	for _, text := range texts {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, err
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}
