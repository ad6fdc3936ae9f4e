package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path"
	"strconv"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// manager is a connection to systemd's user manager: org.freedesktop.systemd1(5).
type manager struct {
	conn *dbus.Conn
	name string // of the manager on the bus; "" where it speaks for itself
}

const (
	object = "/org/freedesktop/systemd1"
	face   = "org.freedesktop.systemd1.Manager"
)

// connect speaks to the manager over the session's bus, or to its own socket.
func connect(ctx context.Context, socket string) (*manager, error) {
	var dialer net.Dialer
	stream, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	if err := check(stream); err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	conn, err := dbus.NewConn(stream, dbus.WithContext(ctx))
	if err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	m := &manager{conn: conn}
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))})
	if path.Base(socket) == "bus" && err == nil {
		m.name = "org.freedesktop.systemd1"
		err = conn.Hello()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// check refuses a peer of another user, and one of another PID namespace, for
// which bryo's number is some other process's.
func check(stream net.Conn) error {
	socket, ok := stream.(*net.UnixConn)
	if !ok {
		return errors.New("not a Unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) { peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, asked); err != nil {
		return err
	}
	if int(peer.Uid) != os.Getuid() {
		return fmt.Errorf("the user id %d answers", peer.Uid)
	}
	if peer.Pid == 0 {
		return errors.New("systemd is in another PID namespace")
	}
	return nil
}

func (m *manager) close() { _ = m.conn.Close() }

func (m *manager) call(ctx context.Context, method string, args ...any) *dbus.Call {
	return m.conn.Object(m.name, object).CallWithContext(ctx, face+"."+method, 0, args...)
}

// property is an element of a(sv).
type property struct {
	Name  string
	Value dbus.Variant
}

// auxiliary is an element of a(sa(sv)), of which there is none.
type auxiliary struct {
	Name       string
	Properties []property
}

// makeScope returns once the process is in a scope of its own, whose inside is
// delegated: with what is below it systemd does nothing but remove it in the end.
// The scope itself has no limits, for bryo-net lives there, too.
func (m *manager) makeScope(ctx context.Context, unit string, pid uint32) error {
	ended := make(chan *dbus.Signal, 16) //nolint:mnd // more than one job ends meanwhile
	m.conn.Signal(ended)
	if m.name != "" {
		if err := m.conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(face), dbus.WithMatchMember("JobRemoved")); err != nil {
			return err
		}
	}
	if err := m.call(ctx, "Subscribe").Err; err != nil {
		return err
	}
	properties := []property{
		{"Description", dbus.MakeVariant("bryo container")},
		{"PIDs", dbus.MakeVariant([]uint32{pid})},
		{"Delegate", dbus.MakeVariant(true)},
		{"TasksMax", dbus.MakeVariant(uint64(math.MaxUint64))},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	var job dbus.ObjectPath
	if err := m.call(ctx, "StartTransientUnit", unit, "fail", properties, []auxiliary{}).Store(&job); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s, open := <-ended:
			if !open {
				return errors.New("the connection was closed")
			}
			if result, is := resultOf(s, job); is && result != "done" {
				return fmt.Errorf("the scope's start is %s", result)
			} else if is {
				return nil
			}
		}
	}
}

// resultOf reads JobRemoved(u id, o job, s unit, s result).
func resultOf(s *dbus.Signal, job dbus.ObjectPath) (result string, is bool) {
	const fields = 4
	if s.Name != face+".JobRemoved" || len(s.Body) != fields {
		return "", false
	}
	path, isPath := s.Body[1].(dbus.ObjectPath)
	result, isText := s.Body[3].(string)
	return result, isPath && isText && path == job
}

// enter puts a process beside bryo's own in a container's scope.
func (m *manager) enter(ctx context.Context, unit string, pid uint32) error {
	return m.call(ctx, "AttachProcessesToUnit", unit, "/bryo", []uint32{pid}).Err
}
