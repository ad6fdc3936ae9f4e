package launch

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/confine"
	"bryo/rootless/ns"
	"bryo/rootless/program"
	"bryo/rootless/squash"
)

// loadSquash loads the filter that asks and hands over where its questions are
// read. The command's first call that is asked about waits for an answer.
func loadSquash(p *program.Program, plan *rootless.Plan, fds descriptors) {
	if plan.Squash == nil {
		return
	}
	listener := confine.LoadListener(p, &plan.Squash.Filter, plan.Squash.Killable)
	p.Step("hand over", "the listener")
	sendDescriptor(p, fds.squash, listener)
	p.Close(listener)
	p.Close(program.FD(fds.squash))
}

// squashFDs are what the process that answers is started with.
type squashFDs struct{ inside, listener, proc, executable int }

// compileAnswering is the stage that enters the container beside its processes,
// in none of its PID namespaces, and executes bryo there: who answers can do with
// files what root inside can, and nobody inside can name it.
func compileAnswering(plan *rootless.Plan, fds squashFDs, errors int) *program.Program {
	const executable = squash.ProcFD + 1
	p := program.New()
	p.Step("hide", "from processes inside")
	p.Prctl(unix.PR_SET_DUMPABLE, 0)
	p.Step("begin", "a session")
	p.Syscall(unix.SYS_SETSID)
	silence(p)
	p.Step("enter", "the container")
	p.Syscall(unix.SYS_SETNS, program.FD(fds.inside), program.Num(plan.Inside()&^(ns.PID.CloneFlag()|ns.Time.CloneFlag())))
	confine.NoNewPrivs(p)
	confine.DropBounding(p, confine.Caps(squash.Caps(uint64(plan.Process.Caps))))
	arrange(p, []place{{fds.listener, squash.ListenerFD}, {fds.proc, squash.ProcFD}, {fds.executable, executable}}, errors)
	p.SetCloexec(program.FD(executable))
	p.SetCloexec(program.FD(errors))
	resetSignals(p)
	p.Step("execute", "who answers")
	p.ExecFD(program.FD(executable), p.Strings(squashArgs(plan)), p.Strings(nil))
	return p
}

// squashArgs say who the command is. Rules of Landlock that forbid it to make files
// would not hold for files that are made for it.
func squashArgs(plan *rootless.Plan) []string {
	s, devices := plan.Squash, plan.Process.Landlock.Files == 0
	const roots = 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SYS_ADMIN
	oneRoot := plan.Process.Caps&roots == 0 && !plan.Squash.Nest
	texts := make([]string, len(s.Groups))
	for i, g := range s.Groups {
		texts[i] = strconv.FormatUint(uint64(g), 10)
	}
	return []string{"bryo", "squash", strconv.FormatUint(uint64(s.UID), 10), strconv.FormatUint(uint64(s.GID), 10), strings.Join(texts, ","), strconv.FormatBool(devices), strconv.FormatBool(oneRoot)}
}
