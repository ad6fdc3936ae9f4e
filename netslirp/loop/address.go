package loop

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Address is an address as the kernel's calls want it, and its family.
func Address(of netip.AddrPort) (int, unix.Sockaddr) {
	if of.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(of.Port()), Addr: of.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(of.Port()), Addr: of.Addr().As16()}
}
