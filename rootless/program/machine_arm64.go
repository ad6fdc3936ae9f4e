//go:build !portable

package program

// machine is EM_AARCH64.
const machine = 183
