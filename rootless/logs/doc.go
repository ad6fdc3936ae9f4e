// Package logs is the log of a detached container: a Writer that makes entries
// of what comes from the container's pipes, and Read, which gives them back.
//
// The file log, in a directory of the container's, is appended to, and becomes
// log.1, log.2 and so on when it is full. An entry is a line of text:
//
//	{"time":"2026-01-02T03:04:05.6Z","stream":"stdout","log":"text\n"}     JSON
//	{"time":"2026-01-02T03:04:05.6Z","stream":"stdout","log64":"//4="}     bytes that are no UTF-8
//	{"time":"2026-01-02T03:04:05.6Z","stream":"stderr","log":"te","partial":true}
//	2026-01-02T03:04:05.6Z stdout F text                                   Plain, as the CRI has it
//	2026-01-02T03:04:05.6Z stderr P te
//
// A partial entry goes on in the next one of its stream. Stream bryo has what
// the Writer itself has to say: how many bytes a full disk has cost.
//
// A batch of entries is one write(2), so that a crash leaves one torn entry at
// most, at the end. Readers skip it; in the Plain format, when more has come
// after it, what there is of it reads as a line. A limit on file sizes is as a
// full disk, for Go takes SIGXFSZ and does nothing.
//
// entry.go and encode.go are pure; calls.go has the system calls.
package logs
