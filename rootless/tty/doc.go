// Package tty is the terminal side of a container that runs on a
// pseudo-terminal of its own: window sizes, raw mode, and passing bytes
// between bryo's terminal and the container's (pty(7), termios(3)).
package tty
