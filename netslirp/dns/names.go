package dns

import (
	"container/heap"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	maxNames        = 1 << 16
	maxNamesPerAddr = 64
	// grace is for connections that a client makes just after the answer it
	// goes by has run out.
	grace = time.Minute
)

// Names remembers what names led to an address, for as long as the answers said
// and a minute more. It is bounded: when it is full, what would expire first
// makes room. It is safe for concurrent use.
type Names struct {
	mu     sync.Mutex
	byAddr map[netip.Addr][]*nameEntry
	queue  nameQueue
	most   int
	now    func() time.Time
}

type nameEntry struct {
	name    string
	addr    netip.Addr
	expires time.Time
	index   int // in the queue
}

// NewNames returns a table that is empty.
func NewNames() *Names {
	return &Names{byAddr: map[netip.Addr][]*nameEntry{}, most: maxNames, now: time.Now}
}

// Learn remembers that name leads to addr. The name is lower case and has no
// dot at its end. Of two lifetimes the one that ends later counts.
func (n *Names) Learn(name string, addr netip.Addr, ttl time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	n.expire(now)
	addr = addr.Unmap().WithZone("")
	expires := now.Add(min(max(ttl, minTTL), maxTTL) + grace)
	list := n.byAddr[addr]
	if i := slices.IndexFunc(list, func(e *nameEntry) bool { return e.name == name }); i >= 0 {
		if entry := list[i]; entry.expires.Before(expires) {
			entry.expires = expires
			heap.Fix(&n.queue, entry.index)
		}
		return
	}
	if len(list) >= maxNamesPerAddr {
		n.forget(slices.MinFunc(list, func(a, b *nameEntry) int { return a.expires.Compare(b.expires) }))
	} else if len(n.queue) >= n.most {
		n.forget(n.queue[0])
	}
	entry := &nameEntry{name: name, addr: addr, expires: expires}
	n.byAddr[addr] = append(n.byAddr[addr], entry)
	heap.Push(&n.queue, entry)
}

// Lookup gives the names that lead to an address now.
func (n *Names) Lookup(addr netip.Addr) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expire(n.now())
	list := n.byAddr[addr.Unmap().WithZone("")]
	names := make([]string, 0, len(list))
	for _, entry := range list {
		names = append(names, entry.name)
	}
	return names
}

func (n *Names) expire(now time.Time) {
	for len(n.queue) > 0 && !now.Before(n.queue[0].expires) {
		n.forget(n.queue[0])
	}
}

func (n *Names) forget(entry *nameEntry) {
	heap.Remove(&n.queue, entry.index)
	list := slices.DeleteFunc(n.byAddr[entry.addr], func(e *nameEntry) bool { return e == entry })
	if len(list) == 0 {
		delete(n.byAddr, entry.addr)
		return
	}
	n.byAddr[entry.addr] = list
}

// nameQueue has what expires first at its head: container/heap.
type nameQueue []*nameEntry

func (q nameQueue) Len() int           { return len(q) }
func (q nameQueue) Less(i, j int) bool { return q[i].expires.Before(q[j].expires) }

func (q nameQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is for package heap.
func (q *nameQueue) Push(x any) {
	entry, is := x.(*nameEntry)
	if !is {
		return
	}
	entry.index = len(*q)
	*q = append(*q, entry)
}

// Pop is for package heap.
func (q *nameQueue) Pop() any {
	last := len(*q) - 1
	entry := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return entry
}
