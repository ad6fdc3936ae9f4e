// Package confine holds what a container's command may not do: capabilities
// (capabilities(7)), resource limits (getrlimit(2)) and no_new_privs. The
// policy is pure; Apply adds the calls that put it into effect, in the one
// order in which each still has what it needs.
package confine
