// Package procfs reads from the kernel what holds for a container that runs:
// the id maps, namespaces and mounts, and of its init and its command the
// capabilities, no_new_privs, filters, limits and descriptors (proc(5)). It
// reads from outside, as the user; what the kernel shows to root alone, or to
// nobody, it says so of. status.go and weaker.go are pure: they read text, and
// compare what was read with a plan.
package procfs
