package host

import (
	"strings"

	"golang.org/x/sys/unix"
)

func (s *symptoms) networkFindings() []Finding {
	found := []Finding{s.deviceFinding(), s.netProgramFinding(), s.pingFinding()}
	if others := s.network.others; len(others) > 0 {
		found = append(found, Finding{
			ID: "other-networks", Topic: onNetwork,
			Cause: "also installed: " + strings.Join(others, ", ") + ", which --net NAME runs in bryo-net's place",
		})
	}
	return found
}

// deviceFinding is about the device that packets go through: what there is to
// say of /dev/net/tun, and whether the veth pair that stands in for it does.
func (s *symptoms) deviceFinding() Finding {
	f := s.tunFinding()
	switch veth := &s.network.veth; {
	case f.Level == OK || s.tun.usable() || !veth.tried: // bryo takes what opens
	case veth.worked():
		f.Level = Note
		f.Cause += "; a veth pair stands in"
		f.Fix += "; slirp4netns and pasta need it, nothing else does"
		return f
	default:
		f.Cause += ", and a veth pair in its place is refused"
		f.Seen = veth.seen()
	}
	if f.Fix != "" {
		f.Fix += "; or use --net none or --net host"
	}
	return f
}

func (s *symptoms) tunFinding() Finding {
	f := Finding{Topic: onNetwork, Level: Degraded, Seen: s.inside.tun.seen()}
	const node = "mkdir -p /dev/net\n[ -c /dev/net/tun ] || { rm -f /dev/net/tun; mknod /dev/net/tun c 10 200; }\nchmod 0666 /dev/net/tun\n"
	load := loadModule("tun")
	switch t := &s.tun; {
	case !t.exists:
		f.ID = "no-tun"
		f.Cause = "there is no /dev/net/tun, through which a container reaches the network"
		f.Fix = "sudo modprobe tun (in a container: --device /dev/net/tun outside)"
		f.Script = load + node
	case !t.isTun:
		f.ID = "no-tun"
		f.Cause = "/dev/net/tun is not the tun device"
		f.Fix = "sudo rm /dev/net/tun, sudo modprobe tun (in a container: --device /dev/net/tun outside)"
		f.Script = "umount /dev/net/tun 2>/dev/null || rm -f /dev/net/tun\n" + load + node
	case t.errno == unix.EACCES:
		f.ID = "tun-unreadable"
		f.Cause = "you may not open /dev/net/tun"
		f.Fix = "sudo chmod 0666 /dev/net/tun"
		f.Script = "chmod 0666 /dev/net/tun\n" +
			keep("/etc/udev/rules.d", "90-bryo-tun.rules", `KERNEL=="tun", MODE="0666", OPTIONS+="static_node=net/tun"`)
	case t.errno == unix.EPERM:
		f.ID = "tun-refused"
		f.Cause = "the control group of this container refuses /dev/net/tun"
		f.Fix = "outside: --device /dev/net/tun"
	case t.errno != 0:
		f.ID = "no-tun"
		f.Cause = "the kernel's tun module is not loaded, or too old: " + t.errno.Error()
		f.Fix = "sudo modprobe tun"
		f.Script = load
	case s.inside.tun.errno != 0:
		f.ID = "tun-refused"
		f.Cause = "no device can be made with /dev/net/tun: " + s.inside.tun.seen()
		f.Fix = "see what the kernel's log says: sudo dmesg | tail"
	default:
		return Finding{ID: "tun-opens", Topic: onNetwork, Cause: "/dev/net/tun makes network devices"}
	}
	return f
}

func (s *symptoms) netProgramFinding() Finding {
	if path := s.network.program; path != "" {
		return Finding{ID: "bryo-net-found", Topic: onNetwork, Cause: path + " connects containers"}
	}
	return Finding{
		ID: "bryo-net-missing", Topic: onNetwork, Level: Degraded,
		Cause: "the program bryo-net is missing, which belongs beside bryo or in ../libexec/bryo",
		Fix:   "install it (make install); or use --net none or --net host",
	}
}

// pingFinding is about the host's ping sockets, which bryo-net answers for the
// world with: icmp(7). All else works without them.
func (s *symptoms) pingFinding() Finding {
	const sysctl, all = "net.ipv4.ping_group_range", "0 2147483647"
	switch ping := &s.network.ping; {
	case !ping.tried || ping.worked():
		return Finding{ID: "ping-works", Topic: onNetwork, Cause: "ping sockets can be opened, with which containers reach others"}
	case ping.errno == unix.EACCES:
		return Finding{
			ID: "no-ping", Topic: onNetwork, Level: Note, Seen: ping.seen(),
			Cause:  "ping from containers gets no answer: " + sysctl + " leaves your groups out",
			Fix:    "sudo sysctl -w " + sysctl + "='" + all + "'",
			Script: setSysctl(sysctl, all),
		}
	default:
		return Finding{
			ID: "no-ping", Topic: onNetwork, Level: Note, Seen: ping.seen(),
			Cause: "ping from containers gets no answer: ping sockets are refused (" + ping.seen() + ")",
			Fix:   "have what confines bryo allow socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)",
		}
	}
}
