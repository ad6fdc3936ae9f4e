// Netsite is what the tests of the network run inside containers: clients that
// say in one word how a connection went, servers, and a hostile guest. It prints
// a line for each result.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// verb is something that a container can do.
type verb struct {
	name, args string
	least      int // arguments
	do         func(args []string, out io.Writer) error
}

func verbs() []verb {
	return []verb{
		{"dial", "ADDR...", 1, dial},
		{"ask", "ADDR...", 1, ask},
		{"lookup", "NAME...", 1, lookup},
		{"give", "ADDR BYTES", 2, give},
		{"take", "ADDR BYTES", 2, take},
		{"read", "ADDR", 1, read},
		{"datagram", "ADDR BYTES", 2, datagram},
		{"echo", "ADDR...", 1, echo},
		{"crowd", "ADDR COUNT", 2, crowd},
		{"flood", "ADDR COUNT", 2, flood},
		{"garbage", "COUNT", 1, garbage},
	}
}

func run(args []string, out, errs io.Writer) int {
	for _, v := range verbs() {
		if len(args) == 0 || args[0] != v.name || len(args)-1 < v.least {
			continue
		}
		if err := v.do(args[1:], out); err != nil {
			fmt.Fprintf(errs, "netsite: %s: %v\n", v.name, err)
			return 1
		}
		return 0
	}
	for _, v := range verbs() {
		fmt.Fprintln(errs, "usage: netsite", v.name, v.args)
	}
	return 2
}
