//go:build !portable

package program

// machine is EM_X86_64.
const machine = 62
