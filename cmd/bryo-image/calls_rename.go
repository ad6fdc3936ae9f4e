//go:build !riscv64

package main

import "golang.org/x/sys/unix"

// renameCalls are those that a machine has to rename files.
func renameCalls() []int { return []int{unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2} }
