package tests

import (
	"strings"
	"testing"
	"time"
)

// A command inside holds leases on files that bryo opens. Nobody waits for it: not
// who enters its container or runs another of its root, nor its neighbours.
func TestAttackLease(t *testing.T) {
	b := newBattle(t)
	if b == nil {
		return
	}
	b.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
	defer b.container("leaser", nil, "attack", "lease", "/etc/passwd", "/etc/hosts")()
	const some, most = 100, 15 * time.Second // a lease is broken after 45: proc_sys_fs(5)
	log := ""
	for range some {
		if log = b.bryo("logs", "leaser").out; strings.Contains(log, "/etc/hosts") {
			break
		}
		time.Sleep(most / some / 3)
	}
	if strings.Count(log, "reached") != 2 {
		t.Skipf("no lease inside: %s", log)
	}
	defer b.bryo("rm", "-f", "guest", "other")
	start := time.Now()
	for _, row := range []struct {
		args []string
		code int
		told string
	}{
		{[]string{"exec", "leaser", "true"}, 0, ""},
		{[]string{"exec", "-u", "root", "leaser", "true"}, 125, "/etc/passwd of the root file system: a process holds a lease"},
		{[]string{"run", "-u", "root", b.root, "true"}, 125, "/etc/passwd of the root file system: a process holds a lease"},
		{[]string{"run", "--net", "join:leaser", b.root, "true"}, 0, ""},
		{[]string{"run", "-d", "--name", "guest", "--net", "join:leaser", b.root, "sleep", "1000"}, 0, "/etc/hosts of container leaser: "},
		{[]string{"run", "-d", "--name", "other", "--net", "join:guest", b.root, "sleep", "1000"}, 0, ""},
		{[]string{"exec", "guest", "grep", "-w", "other", "/etc/hosts"}, 0, ""},
		{[]string{"stop", "-t", "0", "other"}, 0, ""},
		{[]string{"start", "other"}, 0, ""},
		{[]string{"cp", "leaser:/etc", b.dir + "/copy"}, 125, "a process holds a lease on it"},
		{[]string{"cp", "leaser:/etc/group", b.dir + "/group"}, 0, ""},
	} {
		if got := b.bryo(row.args...); got.code != row.code || !strings.Contains(got.err, row.told) {
			t.Errorf("%v: %+v, want %d and %q", row.args, got, row.code, row.told)
		}
	}
	if took := time.Since(start); took > most {
		t.Errorf("it took %v", took)
	}
}
