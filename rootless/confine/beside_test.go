package confine

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What a filter refuses beside its profile it does in each ABI, over a profile
// that allows everything, too, and nothing else with it.
func TestBeside(t *testing.T) {
	const i386, words = unix.AUDIT_ARCH_I386, 1 << 32
	eperm, allow := ActErrno(unix.EPERM), ActAllow
	family, protocol, later := ActErrno(unix.EAFNOSUPPORT), ActErrno(unix.EPROTONOSUPPORT), ActErrno(unix.EOPNOTSUPP)
	type args = [6]uint64
	type row struct {
		name  string
		call  call
		want  Action
		plain Action // without what is refused beside
	}
	open := func() *Profile {
		p, err := ParseProfile([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"]}`))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, of := range []struct {
		add  func(*Profile)
		rows []row
	}{
		{(*Profile).OwnProcesses, []row{
			{"own limits", call{number: unix.SYS_PRLIMIT64}, allow, allow},
			{"another's limits", call{number: unix.SYS_PRLIMIT64, arguments: args{42}}, eperm, allow},
			{"another's limits, i386", call{number: 340, architecture: i386, arguments: args{42}}, eperm, allow},
			{"own processors", call{number: unix.SYS_SCHED_SETAFFINITY, arguments: args{0, 8, 1}}, allow, allow},
			{"another's processors", call{number: unix.SYS_SCHED_SETAFFINITY, arguments: args{42, 8, 1}}, eperm, allow},
			{"another's scheduler", call{number: unix.SYS_SCHED_SETSCHEDULER, arguments: args{42}}, eperm, allow},
			{"another's attributes", call{number: unix.SYS_SCHED_SETATTR, arguments: args{42}}, eperm, allow},
			{"another's parameters", call{number: unix.SYS_SCHED_SETPARAM, arguments: args{42}}, eperm, allow},
			{"own priority", call{number: unix.SYS_SETPRIORITY, arguments: args{unix.PRIO_PROCESS, 0, 5}}, allow, allow},
			{"another's priority", call{number: unix.SYS_SETPRIORITY, arguments: args{unix.PRIO_PROCESS, 42, 5}}, eperm, allow},
			{"a user's priority", call{number: unix.SYS_SETPRIORITY, arguments: args{unix.PRIO_USER, 0, 5}}, eperm, allow},
			{"a user's priority, high", call{number: unix.SYS_SETPRIORITY, arguments: args{words | unix.PRIO_USER, 0, 5}}, eperm, allow},
			{"a user's priority, i386", call{number: 97, architecture: i386, arguments: args{unix.PRIO_USER, 0, 5}}, eperm, allow},
			{"own class of io", call{number: unix.SYS_IOPRIO_SET, arguments: args{1, 0, 5}}, allow, allow},
			{"another's class of io", call{number: unix.SYS_IOPRIO_SET, arguments: args{1, 42, 5}}, eperm, allow},
			{"a user's class of io", call{number: unix.SYS_IOPRIO_SET, arguments: args{3, 0, 5}}, eperm, allow},
			{"another's affinity is read", call{number: unix.SYS_SCHED_GETAFFINITY, arguments: args{42}}, allow, allow},
		}},
		{(*Profile).PlainTCP, []row{
			{"tcp", call{number: unix.SYS_SOCKET, arguments: args{unix.AF_INET, unix.SOCK_STREAM, 0}}, allow, allow},
			{"mptcp", call{number: unix.SYS_SOCKET, arguments: args{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}}, protocol, allow},
			{"mptcp, high", call{number: unix.SYS_SOCKET, arguments: args{unix.AF_INET6, unix.SOCK_STREAM, words | unix.IPPROTO_MPTCP}}, protocol, allow},
			{"mptcp, i386", call{number: 359, architecture: i386, arguments: args{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}}, protocol, allow},
			{"smc over tcp", call{number: unix.SYS_SOCKET, arguments: args{unix.AF_INET, unix.SOCK_STREAM, 256}}, protocol, allow},
			{"smc", call{number: unix.SYS_SOCKET, arguments: args{unix.AF_SMC, unix.SOCK_STREAM, 0}}, family, allow},
			{"send", call{number: unix.SYS_SENDTO, arguments: args{3, 0, 0, unix.MSG_NOSIGNAL}}, allow, allow},
			{"send at once", call{number: unix.SYS_SENDTO, arguments: args{3, 0, 0, unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL}}, later, allow},
			{"send a message at once", call{number: unix.SYS_SENDMSG, arguments: args{3, 0, unix.MSG_FASTOPEN}}, later, allow},
			{"send messages at once", call{number: unix.SYS_SENDMMSG, arguments: args{3, 0, 1, unix.MSG_FASTOPEN}}, later, allow},
			{"send at once, i386", call{number: 369, architecture: i386, arguments: args{3, 0, 0, unix.MSG_FASTOPEN}}, later, allow},
			{"who hides a send", call{number: 102, architecture: i386, arguments: args{11}}, eperm, allow},
			{"a ring, in another profile", call{number: unix.SYS_IO_URING_SETUP}, eperm, 0},
		}},
	} {
		for name, profile := range map[string]func() *Profile{"default": DefaultProfile, "docker": DockerProfile, "open": open} {
			with := profile()
			of.add(with)
			refuses, plain := compiled(t, with), compiled(t, profile())
			for _, r := range of.rows {
				if r.call.architecture == 0 {
					r.call.architecture = unix.AUDIT_ARCH_X86_64
				}
				if got, err := interpret(refuses, r.call); err != nil || got != r.want {
					t.Errorf("%s, %s: %#x, %v, want %#x", name, r.name, got, err, r.want)
				}
				if got, err := interpret(plain, r.call); r.plain != 0 && (err != nil || got != r.plain) {
					t.Errorf("%s, %s, not refused beside: %#x, %v, want %#x", name, r.name, got, err, r.plain)
				}
			}
		}
	}
}
