package cgroup

import (
	"path/filepath"
	"strconv"
	"time"
)

// Usage is what the processes of a cgroup use.
type Usage struct {
	CPU    time.Duration
	Memory uint64 // bytes
	PIDs   uint64
}

// Used puts what the cgroup of a process counts in the place of what was found
// otherwise. Only what is limited is counted, and processor time.
func Used(pid int, u Usage) Usage {
	cgroup, err := Of(pid)
	if err != nil {
		return u
	}
	counted := func(file string, field int, into *uint64) {
		if w := words(filepath.Join(Root, cgroup, file)); len(w) > field {
			if n, err := strconv.ParseUint(w[field], 10, 63); err == nil {
				*into = n
			}
		}
	}
	spent := uint64(u.CPU.Microseconds())
	counted("memory.current", 0, &u.Memory)
	counted("pids.current", 0, &u.PIDs)
	counted("cpu.stat", 1, &spent) // usage_usec N
	u.CPU = time.Duration(spent) * time.Microsecond
	return u
}
