package main

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/confine"
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
	if err := confine.Undumpable(); err != nil {
		return err
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
	if err := squash.NameSelf(squash.ProcFD); err != nil {
		return err
	}
	if err := confine.AllowOnly(append(squashCalls(), confine.GoCalls()...)); err != nil {
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

// squashCalls are what it answers with: it opens no file to write to it, and gives
// none away. They stand before those of every program, which end it for some of them.
func squashCalls() (rules []confine.CallRule) {
	const words = 0xffffffff // an int: the kernel does not look at the rest
	allow := func(number uint32, conditions ...confine.Condition) {
		rules = append(rules, confine.CallRule{Number: number, Conditions: conditions, Action: confine.ActAllow})
	}
	for _, number := range []uint32{
		unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_CHROOT, unix.SYS_FCHDIR, unix.SYS_OPENAT2, unix.SYS_UMASK,
		unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_SETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_UNLINKAT, unix.SYS_FSTATFS,
	} {
		allow(number)
	}
	for _, request := range []uint64{
		unix.SECCOMP_IOCTL_NOTIF_RECV, unix.SECCOMP_IOCTL_NOTIF_SEND, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS,
	} {
		allow(unix.SYS_IOCTL, confine.Masked(1, words, request))
	}
	const owner, group, flags = 2, 3, 2 // arguments of fchownat(2), openat(2)
	allow(unix.SYS_OPENAT, confine.Masked(flags, unix.O_ACCMODE|unix.O_TRUNC, unix.O_RDONLY))
	allow(unix.SYS_FCHOWNAT, confine.Masked(owner, words, words), confine.Masked(group, words, words))
	allow(unix.SYS_UNSHARE, confine.Masked(0, words, unix.CLONE_FS))
	allow(unix.SYS_PRLIMIT64, confine.Masked(1, words, unix.RLIMIT_LOCKS))
	return rules
}
