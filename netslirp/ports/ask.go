package ports

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"

	"github.com/rootless-containers/rootlesskit/v3/pkg/port/builtin/msg"
	"golang.org/x/sys/unix"

	"bryo/netslirp/loop"
)

// asking is a question to the side inside, to make a connection:
//
//	to it    | length, 4, little endian | msg.Request in JSON |
//	from it  | any bytes, with a descriptor in SCM_RIGHTS | or | an error, without |
type asking struct {
	loop.Socket

	relay *relay
	tried int // targets
}

var errSilent = errors.New("the side in the container made no connection")

// ask sends the next question.
func (a *asking) ask() error {
	l := a.relay.listener
	if a.tried == len(l.targets) {
		return errSilent
	}
	text, err := json.Marshal(msg.Request{Type: msg.RequestTypeConnect, Proto: l.spec.Proto, IP: l.targets[a.tried], Port: l.spec.ChildPort})
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	err = os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrUnix{Name: l.driver.socket}))
	if err == nil {
		_, err = unix.Write(fd, append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...))
	}
	if err == nil {
		a.FD = fd
		err = l.driver.loop.Add(&a.Socket)
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
	a.relay.listener.driver.mu.Lock()
	defer a.relay.listener.driver.mu.Unlock()
	if a.FD < 0 || w&loop.Readable == 0 {
		return
	}
	fd, err := receiveSocket(a.FD)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	a.relay.listener.driver.loop.Remove(&a.Socket)
	if err != nil {
		a.relay.next()
		return
	}
	a.relay.connected(fd)
}

// End implements loop.Owner.
func (a *asking) End() { a.relay.End() }

// receiveSocket receives a connection, and nothing else that a descriptor may be.
func receiveSocket(from int) (int, error) {
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
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err == nil && protocol != unix.IPPROTO_TCP {
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
