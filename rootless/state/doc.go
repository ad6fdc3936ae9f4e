// Package state keeps what later commands must know of a container: what it
// was asked to be, and how it is. One directory a container, which only the user
// can open:
//
//	$XDG_RUNTIME_DIR/bryo/            or a directory of the user's in /tmp
//	    containers/ID/config.json     what it is: written once
//	                 /record.json     how it is: replaced as a whole
//	                 /plan.json       what was decided when it was started last
//	                 /lock            flock(2), by whoever changes it
//	                 /exit            its exit code, for those that wait
//	                 /log, /log.1     what it said
//	                 /attach          the monitor's socket
//	    names/NAME -> ID
//
// Every file is replaced by rename, so that a process that dies at any moment
// leaves the old or the new one. Whether a container runs is never believed:
// the kernel is asked whether the recorded process is still that process.
package state
