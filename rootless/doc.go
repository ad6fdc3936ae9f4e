// Package rootless is what a container is, as values: a Spec says what was
// asked for, Facts what the host and the root file system are like, and
// Compile makes of both a Plan in which everything is decided. The whole
// package is pure; package launch carries plans out.
package rootless
