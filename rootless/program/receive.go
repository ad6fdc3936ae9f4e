package program

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Receive takes the descriptor that a child sent over a socket: unix(7),
// SCM_RIGHTS. It has FD_CLOEXEC set.
func Receive(socket int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	for {
		_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, os.NewSyscallError("recvmsg", err)
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) != 1 {
			return -1, errors.New("the container sent no descriptor")
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return -1, errors.New("the container sent no descriptor")
		}
		return fds[0], nil
	}
}
