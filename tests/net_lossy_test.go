package tests

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Nothing is lost in transfers over a bad line, which is the host's to mend.
func TestNetLossy(t *testing.T) {
	if !inWorld(t) {
		return
	}
	w := newWorld(t, cable)
	const size = 4 << 20
	transfers := func(w *world, addr string) {
		w.prints(w.box(nil, "netsite", "give", addr+":"+sumPort, strconv.Itoa(size)), fmt.Sprintf("gave %d\n", size))
		w.take(nil, addr, size)
	}
	w.step("version 4", func(_ *testing.T, w *world) { transfers(w, peerAddr4) })
	w.step("version 6", func(_ *testing.T, w *world) { transfers(w, "["+peerAddr6+"]") })
	w.step("many at once", func(_ *testing.T, w *world) {
		const script = `for i in $(seq 8); do netsite give ` + farAddr4 + `:` + sumPort + ` 300000 & done; wait`
		w.finds(w.box(nil, "sh", "-c", script), "gave 300000\ngave 300000\ngave 300000\ngave 300000\ngave 300000\ngave 300000\ngave 300000\ngave 300000\n")
	})
	w.step("published", func(t *testing.T, w *world) {
		c := w.publish([]string{"-p", "0.0.0.0:8090:7"}, "netsite", "echo", "0.0.0.0:7")
		defer c.end()
		c.speaks("tcp", hostAddr4+":8090", w.outside.dial)
		conn, err := w.outside.dial("tcp", hostAddr4+":8090")
		if err != nil {
			t.Fatal(err)
		}
		mirrored(t, conn, size)
	})
}

// cable joins the host and what is outside by a line that delays, loses and
// reorders packets. Its ends are TUN devices, so that it needs no scheduler of
// the kernel's: sch_netem is missing here and there.
func cable(t *testing.T, outside *place) {
	t.Helper()
	up, err := tunDevice("up0")
	if err != nil {
		t.Skip("no line that loses packets: ", err)
	}
	var down *os.File
	outside.must(t, func() (err error) {
		down, err = tunDevice("down0")
		return err
	})
	var group sync.WaitGroup
	group.Go(func() { carry(up, down, 1, &group) })
	group.Go(func() { carry(down, up, 2, &group) })
	t.Cleanup(func() {
		_ = up.Close()
		_ = down.Close()
		group.Wait()
	})
}

func tunDevice(name string) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// packet is one on its way.
type packet struct {
	due  time.Time
	text []byte
}

// carry carries packets one way. The group waits for those that are late.
func carry(from, to *os.File, seed uint64, group *sync.WaitGroup) {
	const (
		delay, late          = 2 * time.Millisecond, 3 * time.Millisecond
		loss, reorder, queue = 0.01, 0.02, 512
	)
	random := rand.New(rand.NewPCG(seed, seed))
	line := make(chan packet, queue)
	group.Go(func() {
		for p := range line {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.text)
		}
	})
	defer close(line)
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p := packet{time.Now().Add(delay), append([]byte{}, buffer[:n]...)}
		switch chance := random.Float64(); {
		case chance < loss:
		case chance < loss+reorder:
			group.Go(func() {
				time.Sleep(delay + late)
				_, _ = to.Write(p.text)
			})
		default:
			select {
			case line <- p:
			default: // the queue of a router is full
			}
		}
	}
}
