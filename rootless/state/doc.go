// Package state keeps what later commands must know of a container: what it
// was asked to be, and how it is. One directory a container, which only the user
// can open:
//
//	$XDG_RUNTIME_DIR/bryo/            or a directory of the user's in /tmp
//	    containers/ID/config.json     what it is: written once
//	                 /record.json     how it is: replaced as a whole
//	                 /plan.json       what was decided when it was started last
//	                 /attach          the monitor's socket
//	                 /lock            flock(2), by whoever changes it; at last the exit code,
//	                                  for those who have it open when all this goes
//	                 /log, /log.1     what it said
//	    names/NAME -> ID              if the record says so, too; flock(2), by whoever
//	                                  changes what concerns several that run
//
// Every file is replaced by rename, and a container's directory comes and goes
// by rename, so that a process that dies at any moment leaves the old or the new
// one. What else it leaves, List removes. Whether a container runs is never believed:
// the kernel is asked whether the recorded process is still that process.
package state
