// Package cgroup limits what all processes of a container use together, on
// cgroup v2 (Documentation/admin-guide/cgroup-v2.rst).
//
// Limits says what was asked for, Facts what the host has, and Decide makes a
// Plan of the two: these are pure. A cgroup can only be made below one that was
// delegated to the user. systemd's user manager does so on request, over D-Bus,
// which is another executable's work (cmd/bryo-cgroup); elsewhere a cgroup that
// the user may write is looked for.
//
//	bryo-ID.scope/         made by systemd, and gone with its last process
//	    bryo/              bryo itself: a cgroup with others below has no processes
//	    bryo-ID/           the container; its limits, and the root that it sees
package cgroup
