package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bryo/netslirp"
	"bryo/rootless/program"
)

// errGone means that the container ended.
var errGone = errors.New("the container has ended")

// serve runs the network that the configuration asks for until the container
// ends.
func serve() error {
	config, err := readConfig()
	if err != nil {
		return err
	}
	for fd := netslirp.LinkFD; fd <= netslirp.PcapFD; fd++ {
		unix.CloseOnExec(fd)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		cancel(watch())
	}()
	driver, err := newDriver(config)
	if err == nil {
		err = driver.start(ctx)
	}
	if err != nil {
		report(err)
		if driver != nil {
			driver.stop()
		}
		if errors.Is(context.Cause(ctx), errGone) || config.Waits() {
			return nil // nobody is left to hear it, or bryo tells it
		}
		return err
	}
	report(nil)
	err = driver.run(ctx)
	driver.stop()
	if errors.Is(context.Cause(ctx), errGone) {
		<-watched
		return nil
	}
	return err
}

// driver connects a container. start returns once packets flow, and nobody
// needs to wait for anything; run until the context is done.
type driver interface {
	start(ctx context.Context) error
	run(ctx context.Context) error
	stop()
}

func newDriver(config *netslirp.Config) (driver, error) {
	switch config.Driver {
	case netslirp.DriverUser:
		return &user{config: config}, nil
	case netslirp.DriverSlirp4netns, netslirp.DriverPasta:
		return &another{config: config}, nil
	case netslirp.DriverNone:
	}
	return nil, fmt.Errorf("no driver %q", config.Driver)
}

// readConfig reads the sealed word of bryo; it is bryo's own, not the container's.
func readConfig() (*netslirp.Config, error) {
	const most = 4 << 20
	file := os.NewFile(netslirp.ConfigFD, "config")
	if file == nil {
		return nil, errors.New("no configuration: bryo run starts this program")
	}
	text, err := io.ReadAll(io.NewSectionReader(file, 0, most))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	config := &netslirp.Config{}
	if err := json.Unmarshal(text, config); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return config, file.Close()
}

// watch waits for the container's end: a pidfd becomes readable, pidfd_open(2).
func watch() error {
	poll := []unix.PollFd{{Fd: netslirp.ContainerFD, Events: unix.POLLIN}}
	for {
		switch _, err := unix.Poll(poll, -1); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("poll", err)
		default:
			const grace = 30 * time.Millisecond // for what the command sent last
			time.Sleep(grace)
			return errGone
		}
	}
}

// report tells bryo that it can go on, or why not; where it does not wait for
// that, nobody reads it.
func report(err error) {
	word := netslirp.Ready
	if err != nil {
		word = err.Error()
	}
	_, _ = unix.Write(netslirp.ReportFD, []byte(word))
	_ = unix.Close(netslirp.ReportFD)
}

// receiveDevice receives the descriptor of the container's network device.
func receiveDevice() (int, error) {
	fd, err := program.Receive(netslirp.LinkFD)
	if err != nil {
		return -1, fmt.Errorf("receive the network device: %w", err)
	}
	return fd, unix.Close(netslirp.LinkFD)
}
