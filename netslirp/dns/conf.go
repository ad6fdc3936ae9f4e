package dns

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"bryo/netslirp"
)

// conf is a resolv.conf that may change under us: DHCP and VPNs rename a new
// one over it, or turn the symbolic link that it is.
type conf struct {
	path string

	mu      sync.Mutex
	checked time.Time
	stamp   stamp
	servers []netip.Addr
}

// stamp is what changes with a file's content.
type stamp struct {
	dev, ino  uint64
	size      int64
	mtime     time.Time
	isRegular bool
}

// checkEvery bounds how often the file is looked at.
const checkEvery = time.Second

// nameservers gives those of the file as it is now, and of its last version
// that could be read while there is none. Without any it is the host's own
// address, as resolv.conf(5) says.
func (c *conf) nameservers() []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.checked.IsZero() || now.Sub(c.checked) >= checkEvery {
		c.checked = now
		c.refresh()
	}
	if len(c.servers) == 0 {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return c.servers
}

func (c *conf) refresh() {
	info, err := os.Stat(c.path)
	if err != nil || c.stamp == stampOf(info) {
		return
	}
	text, read, err := readConf(c.path)
	if err != nil {
		return
	}
	c.stamp, c.servers = read, netslirp.ParseResolv(text).Nameservers
}

// readConf gives the stamp of the very file it read. A pipe in its place must
// not hold up everything.
func readConf(path string) (text string, read stamp, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", stamp{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", stamp{}, err
	}
	if read = stampOf(info); !read.isRegular {
		return "", stamp{}, fmt.Errorf("read %s: %w", path, syscall.EINVAL)
	}
	content, err := io.ReadAll(io.LimitReader(file, netslirp.MaxResolv))
	return string(content), read, err
}

func stampOf(info os.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime(), isRegular: info.Mode().IsRegular()}
	if stat, is := info.Sys().(*syscall.Stat_t); is {
		s.dev, s.ino = stat.Dev, stat.Ino
	}
	return s
}
