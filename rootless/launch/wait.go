package launch

import (
	"bryo/rootless/program"
)

// Become replaces this process by a supervisor of a few KB that forwards
// signals, ends with the container's exit code, and takes the container down
// when it is killed. It returns only if that was not possible.
func (c *Container) Become() error { return program.Become(c.image, c.PIDFD) }

// Wait waits for the container to end and returns its exit code.
func (c *Container) Wait() (int, error) {
	status, err := wait(c.PID)
	if err != nil {
		return 0, err
	}
	return exitCode(status), nil
}
