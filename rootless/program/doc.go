// Package program holds the launch as data: a list of named system calls that
// a child process carries out without running any Go code.
//
// A Program is built in the parent by its methods (Step names what follows,
// one method a system call) and is a plain value: it prints as a listing, and
// the same calls can be carried out by either interpreter. Assemble lays it
// out in an Arena, outside the Go heap. Start makes a child with clone3 that
// shares the parent's memory and runs the interpreter over the arena; Image
// puts the interpreter and another program into a sealed memfd, an ELF
// executable of a few KB, for the part that runs inside the container.
//
// The interpreter (interp_*.s, and interp.go for other architectures) knows
// system calls, a comparison, a jump forward over operations when an errno is
// tolerated, and the two loops of init and supervisor. Everything here but
// Start, Image and Become is pure.
package program
