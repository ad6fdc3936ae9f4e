// Attack is what the tests run inside containers, of bryo and of naive wrappers
// alike: a hostile command. It prints a line for each thing that it tries,
// "reached WHAT" or "refused WHAT: ERROR".
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// verb is an attack.
type verb struct {
	name, args string
	least      int // arguments
	do         func(r *report, args []string)
}

func verbs() []verb {
	return []verb{
		{"files", "PATH", 1, files},
		{"directory", "SECRET", 1, directory},
		{"executables", "", 0, executables},
		{"read", "FILE MARK", 2, read},
		{"terminal", "", 0, terminal},
		{"become", "ID", 1, become},
		{"elevated", "", 0, elevated},
		{"cgroup", "LINK", 1, cgroup},
		{"dial", "NETWORK ADDR...", 2, dial},
		{"gateway", "ADDR PORTS", 2, gateway},
		{"surface", "", 0, surface},
		{"kernel", "", 0, kernel},
		{"nested", "", 0, nested},
		{"uncover", "WHERE", 1, uncover},
		{"keys", "NAME", 1, keys},
		{"environment", "MARK", 1, environment},
		{"processes", "", 0, processes},
		{"hunt", "SECONDS", 1, hunt},
		{"lease", "PATH...", 1, lease},
		{"squash", "SECRET", 1, squash},
		{"control", "MARK DIR [sockets]", 2, control},
	}
}

func run(args []string, out, errs io.Writer) int {
	for _, v := range verbs() {
		if len(args) > 0 && args[0] == v.name && len(args)-1 >= v.least {
			v.do(&report{out}, args[1:])
			return 0
		}
	}
	for _, v := range verbs() {
		fmt.Fprintln(errs, "usage: attack", v.name, v.args)
	}
	return 2
}

// report is what an attack tells.
type report struct{ out io.Writer }

// try tells of one thing: it was reached if there is no error.
func (r *report) try(what string, err error) {
	if err != nil {
		fmt.Fprintf(r.out, "refused %s: %s\n", what, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Fprintln(r.out, "reached", what)
}
