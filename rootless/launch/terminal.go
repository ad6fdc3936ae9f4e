package launch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// receive takes the terminal's master that the child sent.
func receive(socket int) (int, error) {
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
			return -1, errors.New("the container sent no terminal")
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return -1, errors.New("the container sent no terminal")
		}
		return fds[0], nil
	}
}
