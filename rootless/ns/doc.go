// Package ns names the eight kinds of namespaces (namespaces(7)), where each of
// a container's comes from, and what may be asked of them together: the
// clone3 flags, the clock offsets of time namespaces and the sysctls that
// belong to a namespace. All of it is pure.
package ns
