package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/pflag"

	"bryo/rootless"
	"bryo/rootless/state"
)

// inspected is what inspect prints of a container.
type inspected struct {
	*state.Record

	Options state.Options
	Image   *rootless.ImageRoot `json:",omitempty"`
	Plan    *rootless.Plan      `json:",omitempty"` // of its last start
	Dir     string              // of its state
}

const inspectAbout = `This prints what was asked for, what was decided, and how the container is.
With --security it asks the kernel what holds for a container that runs: id maps, namespaces, mounts and masks, and of its init and its command the capabilities, no_new_privs, filters, limits and descriptors.
Where less holds than was decided it says so, in lines that begin with weaker.
What a seccomp filter is and what Landlock refuses the kernel does not show to users: these lines tell what was decided.`

func inspectFlags(s streams) (flags *pflag.FlagSet, secure, asJSON *bool) {
	flags = verbFlags("inspect", s)
	return flags, flags.Bool("security", false, "print what the kernel says holds for a container that runs"),
		flags.Bool("json", false, "with --security: print JSON, as without it")
}

func inspectSyntax() *pflag.FlagSet {
	flags, _, _ := inspectFlags(streams{})
	return flags
}

// runInspect prints all that is known of containers, as a JSON list, or what
// holds for them.
func runInspect(args []string, s streams) int {
	flags, secure, asJSON := inspectFlags(s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	if flags.NArg() == 0 {
		return report(s, errUnnamed())
	}
	if *secure {
		return inspectSecurity(flags.Args(), *asJSON, s)
	}
	list := []*inspected{}
	for _, name := range flags.Args() {
		i, err := inspect(name)
		if err != nil {
			return report(s, err)
		}
		list = append(list, i)
	}
	return writeJSON(s, list)
}

func inspect(name string) (*inspected, error) {
	e, r, err := oneContainer(name)
	if err != nil && isImage(name) {
		err = fmt.Errorf("%s is an image, and no container\nfix: bryo images --json has what is known of it", name)
	}
	if err != nil {
		return nil, err
	}
	config, err := e.Config()
	if err != nil {
		return nil, err
	}
	i := &inspected{Record: r, Options: config.Options, Image: config.Spec.Root.Image, Dir: e.Path("")}
	if plan, err := e.Plan(); err == nil { // there is none before it ran
		plan.Process.Seccomp.Sum()
		i.Plan = plan
	}
	return i, nil
}

func inspectSecurity(names []string, asJSON bool, s streams) int {
	list := []*secured{}
	for _, name := range names {
		held, err := security(name)
		if err != nil {
			return report(s, err)
		}
		list = append(list, held)
	}
	if asJSON {
		return writeJSON(s, list)
	}
	for _, held := range list {
		if err := printRows(s.out, held.print); err != nil {
			return report(s, err)
		}
	}
	return exitOK
}

func writeJSON(s streams, list any) int {
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return report(s, err)
	}
	return write(s, plain(string(text))+"\n")
}

// plain is JSON without what acts on a terminal: JSON itself writes only some of that
// by numbers, and an image's labels can have the rest. It is in texts alone.
func plain(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.String()
}
