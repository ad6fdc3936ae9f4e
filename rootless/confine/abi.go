package confine

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// abi is one way to call the kernel of a machine.
type abi struct {
	architecture Architecture
	scmp         string // libseccomp's name
	docker       string // that of the conditions in Docker's profiles
	table        string // "name number" pairs
}

// abisOf lists the ABIs that a machine's kernel has, its own first. x32 is
// refused as calls that are not there: Architecture.X32.
func abisOf(machine string) []abi {
	switch machine {
	case "amd64":
		return []abi{
			{Architecture{Audit: unix.AUDIT_ARCH_X86_64, X32: true}, "SCMP_ARCH_X86_64", "amd64", callsAMD64},
			{Architecture{Audit: unix.AUDIT_ARCH_I386}, "SCMP_ARCH_X86", "x86", calls386},
		}
	case "arm64":
		return []abi{
			{Architecture{Audit: unix.AUDIT_ARCH_AARCH64}, "SCMP_ARCH_AARCH64", "arm64", callsARM64},
			{Architecture{Audit: unix.AUDIT_ARCH_ARM}, "SCMP_ARCH_ARM", "arm", callsARM + " breakpoint 983041 cacheflush 983042 usr26 983043 usr32 983044 set_tls 983045"},
		}
	case "riscv64":
		return []abi{{Architecture{Audit: unix.AUDIT_ARCH_RISCV64}, "SCMP_ARCH_RISCV64", "riscv64", callsRISCV64}}
	}
	return nil
}

// privateCalls is where ARM's own begin, far above the others.
const privateCalls = 0xf0000

// numbers are the calls' by name.
func (a *abi) numbers() map[string]uint32 {
	fields := strings.Fields(a.table)
	numbers := make(map[string]uint32, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		if n, err := strconv.ParseUint(fields[i+1], 10, 32); err == nil {
			numbers[fields[i]] = uint32(n)
		}
	}
	return numbers
}
