// Package program holds the launch as data: a list of named system calls that
// a child process carries out without running any Go code.
//
// A Program is built in the parent by its methods (Step names what follows,
// one method a system call) and is a plain value: it prints as a listing, and
// the same calls can be carried out by either interpreter. It is laid out in an
// arena, outside the Go heap. Start makes a child with clone3 that runs the
// interpreter over the arena; Image puts the interpreter and another program
// into a sealed memfd, an ELF executable, for the part that runs inside the
// container.
//
// The interpreter knows system calls, a comparison, a jump forward over
// operations when an errno is tolerated, and the two loops of init and
// supervisor. On amd64 and arm64 it is assembly (interp_*.s): the child shares
// the parent's memory, and an image is a few KB. Elsewhere, and with the build
// tag portable, it is Go that needs no runtime (interp.go, init.go): the child
// is a copy of the parent, and an image a copy of the executable with another
// entry. Everything here but Start, Image, Become and Hold is pure.
package program
