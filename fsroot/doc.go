// Package fsroot is a container's root file system: what is mounted where.
//
// A Plan says it as a value (plan.go, mount.go and the tables of standard.go
// are pure). Builder turns the plan into system calls in two halves: Prepare,
// which needs no mapped ids and takes everything from the host as descriptors
// of detached mounts, and Build, which enters the root and attaches them. No
// path of the root is ever resolved but by openat2 inside it, nothing is
// mounted but on descriptors, and a mount has its attributes before it is
// attached. Root (within.go) is the parent's view of the same tree.
package fsroot
