// Package launch carries out a rootless.Plan. compile*.go turn the plan into
// programs and are pure; the rest is the parent's part: start the child, map
// its ids, read its report, wait.
//
//	parent                         child (all new namespaces, parent's memory)
//	clone3 ----------------------> take from the host: root, sources, devices
//	newuidmap, newgidmap           fresh proc, sysfs
//	"maps are written" ----------> become root inside, enter the root, mount
//	                               execve the sealed stage, which is PID 1:
//	                               clone the command's process, reap
//	end of file on the pipe <----- the command: limits, capabilities, execve
//	become the supervisor
package launch
