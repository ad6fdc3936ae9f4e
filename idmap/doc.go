// Package idmap decides which ids of the host a user namespace gets, and how
// they are written (user_namespaces(7), newuidmap(1)).
//
// A user may always map the own id, and through the setuid helpers newuidmap
// and newgidmap the subordinate ids of subuid(5) and subgid(5). Ranges asks the
// host for those once; Choose makes a Choice of them and of a Spec, without
// asking anything. The caller starts the helpers, or writes the one line itself.
//
// Pure: idmap.go (maps and their arithmetic) and choose.go (the decision).
// Not pure: subid.go (idtools, /etc/passwd, nsswitch.conf), getsubids.go (forks
// getsubids and getent) and write.go (looks for the helpers).
package idmap
