package ports

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"os"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port"
	"github.com/rootless-containers/rootlesskit/v3/pkg/port/builtin/msg"
	"golang.org/x/sys/unix"

	"bryo/netslirp/loop"
)

// errSilent is the answer of a side inside that could make no connection.
var errSilent = errors.New("the side in the container made no connection")

// asking is a question to the side inside, to make a connection:
//
//	to it    | length, 4, little endian | msg.Request in JSON |
//	from it  | any bytes, with a descriptor in SCM_RIGHTS | or | an error, without |
type asking struct {
	loop.Socket

	driver  *driver
	spec    port.Spec
	targets []string // addresses in the container, in the order they are tried
	tried   int
	asker   asker
}

// asker is who wants the connection.
type asker interface {
	connected(fd int)
	refused()
	End()
}

func newAsking(d *driver, spec port.Spec, host netip.Addr, by asker) asking {
	return asking{Socket: loop.Socket{FD: -1}, driver: d, spec: spec, targets: targets(spec.ChildIP, host), asker: by}
}

// targets are where servers in the container may listen: what is asked for, or
// its loopback, in the host's family first.
func targets(child string, host netip.Addr) []string {
	switch {
	case child != "":
		return []string{child}
	case host.Unmap().Is6():
		return []string{"::1", "127.0.0.1"}
	default:
		return []string{"127.0.0.1", "::1"}
	}
}

// ask asks for a connection to the next target. The loop's owner is the asking
// itself, wherever it lies by now.
func (a *asking) ask() error {
	if a.tried == len(a.targets) {
		return errSilent
	}
	text, err := json.Marshal(msg.Request{Type: msg.RequestTypeConnect, Proto: a.spec.Proto, IP: a.targets[a.tried], Port: a.spec.ChildPort})
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	err = os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrUnix{Name: a.driver.socket}))
	if err == nil {
		_, err = unix.Write(fd, append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...))
	}
	if err == nil {
		a.FD, a.Owner = fd, a
		err = a.driver.loop.Add(&a.Socket)
	}
	if err != nil {
		a.FD = -1
		return errors.Join(err, unix.Close(fd))
	}
	a.tried++
	return nil
}

// Turn implements loop.Owner.
func (a *asking) Turn(w loop.Wants) {
	a.driver.mu.Lock()
	defer a.driver.mu.Unlock()
	if a.FD < 0 || w&loop.Readable == 0 {
		return
	}
	protocol := unix.IPPROTO_TCP
	if isUDP(a.spec) {
		protocol = unix.IPPROTO_UDP
	}
	fd, err := receiveSocket(a.FD, protocol)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	a.driver.loop.Remove(&a.Socket)
	if err != nil {
		a.asker.refused()
	} else {
		a.asker.connected(fd)
	}
}

// End implements loop.Owner.
func (a *asking) End() { a.asker.End() }

// receiveSocket receives a socket of the protocol, and nothing else that a descriptor may be.
func receiveSocket(from, protocol int) (int, error) {
	const size = 4 // of a descriptor
	var text [512]byte
	oob := make([]byte, unix.CmsgLen(size)) // no padding, which would hold another
	_, n, _, _, err := unix.Recvmsg(from, text[:], oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, errSilent
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errSilent
	}
	fd := fds[0]
	is, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err == nil && is != protocol {
		err = errSilent
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
