package host

import (
	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless/program"
)

// lookNetwork tries what bryo-net does outside of the container. What stands in
// for the tun device is only tried where it has to.
func (s *symptoms) lookNetwork() {
	n := &s.network
	n.program = Companion("bryo-net")
	for _, driver := range []netslirp.Driver{netslirp.DriverSlirp4netns, netslirp.DriverPasta} {
		for _, dir := range netslirp.ProgramDirs() {
			if unix.Access(dir+"/"+string(driver), unix.X_OK) == nil {
				n.others = append(n.others, string(driver))
				break
			}
		}
	}
	n.ping = tryPing()
	if !s.tun.usable() && s.alone.worked() {
		n.veth = s.tryVeth()
	}
}

func tryPing() attempt {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err == nil {
		_ = unix.Close(fd)
	}
	return attempt{tried: true, errno: errnoOf(err), call: "socket"}
}

// tryVeth makes the pair as a launch does; it ends with the child.
func (s *symptoms) tryVeth() attempt {
	p := newChild()
	mapSelf(p, s.user.uid, s.user.gid)
	netslirp.VethPair(p, netslirp.DefaultMTU)
	p.Exit(0)
	ran, failures := carryOut(p, unix.CLONE_NEWUSER|unix.CLONE_NEWNET)
	report := program.Report{Failures: failures}
	if f, failed := report.Failed(); failed && ran.worked() {
		return attempt{tried: true, errno: unix.Errno(f.Errno), call: f.Step}
	}
	return ran
}
