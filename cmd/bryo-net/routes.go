package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// routes asks the kernel where an address would lead right now: rtnetlink(7).
// That finds every address that the host owns, whatever interface or routing
// table it is on, and however short a time ago it came.
type routes struct {
	mu       sync.Mutex
	fd       int
	sequence uint32
	answer   []byte
}

func openRoutes() (*routes, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	const size = 4096
	return &routes{fd: fd, answer: make([]byte, size)}, nil
}

// host says whether an address is the host's own, or one that reaches it among
// others (broadcast, anycast, multicast). What cannot be asked is the host's.
func (r *routes) host(a netip.Addr) bool {
	kind, err := r.kind(a.WithZone(""))
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return false // there is no way at all, or it is a blackhole, and connect will say so
	case err != nil:
		return true
	}
	return kind != unix.RTN_UNICAST
}

// kind is the type of the route to an address: RTN_*.
func (r *routes) kind(a netip.Addr) (uint8, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequence++
	if err := unix.Sendto(r.fd, question(a, r.sequence), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	for {
		n, _, err := unix.Recvfrom(r.fd, r.answer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if kind, mine, err := routeKind(r.answer[:n], r.sequence); mine {
			return kind, err
		}
	}
}

// question is the message RTM_GETROUTE: struct nlmsghdr, struct rtmsg and one
// attribute.
func question(a netip.Addr, sequence uint32) []byte {
	const headers, attribute = unix.SizeofNlMsghdr + unix.SizeofRtMsg, 4
	raw := a.AsSlice()
	family := byte(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	ne := binary.NativeEndian
	m := make([]byte, 0, headers+attribute+len(raw))
	m = ne.AppendUint32(m, uint32(headers+attribute+len(raw)))
	m = ne.AppendUint16(m, unix.RTM_GETROUTE)
	m = ne.AppendUint16(m, unix.NLM_F_REQUEST)
	m = ne.AppendUint32(m, sequence)
	m = ne.AppendUint32(m, 0)
	m = append(m, family, byte(a.BitLen()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	m = ne.AppendUint16(m, uint16(attribute+len(raw)))
	m = ne.AppendUint16(m, unix.RTA_DST)
	return append(m, raw...)
}

// routeKind reads the kernel's answer; mine is false for another's.
func routeKind(m []byte, sequence uint32) (kind uint8, mine bool, err error) {
	const typeAt, errnoAt = unix.SizeofNlMsghdr + 7, unix.SizeofNlMsghdr
	ne := binary.NativeEndian
	if len(m) < unix.SizeofNlMsghdr+4 || ne.Uint32(m[8:]) != sequence {
		return 0, false, nil
	}
	switch message := ne.Uint16(m[4:]); {
	case message == unix.NLMSG_ERROR:
		return 0, true, unix.Errno(-int32(ne.Uint32(m[errnoAt:])))
	case message == unix.RTM_NEWROUTE && len(m) > typeAt:
		return m[typeAt], true, nil
	default:
		return 0, true, fmt.Errorf("netlink message %d", message)
	}
}
