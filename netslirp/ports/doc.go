// Package ports leads ports of the host into a container, by rootlesskit's
// builtin driver, whose side outside is on bryo-net's loop:
//
//	client ── listener, bryo-net ──────────── splice ── connection in the container
//	              │  "connect to port 80"                    ▲
//	              └──────── unix socket ──── inside, its descriptor
//
// bryo-net listens on the host. The side inside, in the container's user and
// network namespaces, only makes connections and hands them over. Ports are
// added and removed at any time, by rootlesskit's own interface.
package ports
