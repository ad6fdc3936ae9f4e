// Package confine holds what a process may not do: capabilities
// (capabilities(7)), resource limits (getrlimit(2)), no_new_privs, files, ports
// and scopes (landlock(7)), and system calls (seccomp(2)). The policy is pure;
// program.go adds the calls that put it into effect, in the one order in which
// each still has what it needs. A Filter is compiled to BPF here and loaded by
// whom it is for; self.go is for processes of bryo's that confine themselves.
package confine
