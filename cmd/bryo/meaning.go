package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/rootless-containers/rootlesskit/v3/pkg/sigproxy/signal"
	"github.com/spf13/pflag"

	"bryo/rootless/confine"
	"bryo/rootless/host"
)

// meaning is what a placeholder stands for, among a command's arguments as
// among the values of its flags, and so what a shell offers in its place.
type meaning struct {
	placeholder string
	from        source
	words       func() []string // beside; one that ends in = or : is to be continued
}

// source is where a shell finds what else a word may be.
type source string

const (
	fromNothing     source = "nothing"
	fromFiles       source = "files"
	fromDirectories source = "directories"
	fromProgram     source = "program" // and its arguments, to the end of the line
	fromInside      source = "inside"  // the same, in a container
)

// meanings has the placeholders of which a shell can know something; all others
// mean nothing to it.
func meanings() []meaning {
	return []meaning{
		{"ROOTFS", fromDirectories, func() []string { return append([]string{"host"}, imageNames()...) }},
		{"COMMAND", fromInside, nil},
		{"PROGRAM", fromProgram, nil},
		{"CONTAINER", fromNothing, containers},
		{"ls|add|rm", fromNothing, func() []string { return append([]string{"ls", "add", "rm"}, containers()...) }},
		{"FROM", fromFiles, containerPaths},
		{"TO", fromFiles, containerPaths},
		{"REF", fromNothing, imageNames},
		{"IMAGE", fromFiles, fixed("oci:")},
		{"LAYOUT", fromFiles, fixed("oci:")},
		{"PLATFORM", fromNothing, fixed("linux/amd64 linux/arm64 linux/arm/v7")},
		{"DIRECTORY", fromDirectories, nil},
		{"VERB", fromNothing, names},
		{"TOPIC", fromNothing, host.Topics},
		{"SHELL", fromNothing, shells},
		{"FILE", fromFiles, nil},
		{"PROFILE", fromFiles, fixed("default docker strict off")},
		{"SOURCE:TARGET[:OPTION,...]", fromFiles, nil},
		{"/dev/NAME[:/dev/NAME]", fromFiles, nil},
		{"NET", fromNothing, fixed("user none host slirp4netns pasta join:")},
		{"MAP", fromNothing, fixed("auto single keep-id keep-id: host join:")},
		{"WHENCE", fromNothing, fixed("own host join:")},
		{"ACCESS:PATH", fromNothing, fixed("r: rx: rw: rwx: bind: connect: scope unscoped")},
		{"CLOCK=OFFSET,...", fromNothing, fixed("monotonic= boottime=")},
		{"type=TYPE,...", fromNothing, fixed("type=bind, type=tmpfs, type=overlay,")},
		{"NAME=SOFT[:HARD]", fromNothing, limits},
		{"POLICY", fromNothing, fixed("no always on-failure on-failure:")},
		{"FORMAT", fromNothing, fixed("json plain")},
		{"CAP", fromNothing, capabilities},
		{"WHEN", fromNothing, fixed("missing always never")},
		{"SIGNAL", fromNothing, signals},
		{"", fromNothing, fixed("true false")}, // of a flag that is a claim
	}
}

func meaningOf(placeholder string) meaning {
	for _, m := range meanings() {
		if m.placeholder == placeholder {
			return m
		}
	}
	return meaning{placeholder: placeholder, from: fromNothing}
}

// valueOf is what stands for a flag's value; "" for a claim, which needs none.
func valueOf(f *pflag.Flag) string {
	placeholder, _ := pflag.UnquoteUsage(f)
	return placeholder
}

// usageOf is what a flag does.
func usageOf(f *pflag.Flag) string {
	_, usage := pflag.UnquoteUsage(f)
	return usage
}

func fixed(words string) func() []string {
	return func() []string { return strings.Fields(words) }
}

// containers are the names of those that are detached, as far as they can be
// read.
func containers() []string {
	records, _, _ := listed(true)
	names := make([]string, len(records))
	for i, r := range records {
		names[i] = r.Name
	}
	return names
}

func containerPaths() []string {
	list := containers()
	for i := range list {
		list[i] += ":"
	}
	return list
}

func limits() []string {
	list := confine.LimitNames()
	for i, name := range list {
		list[i] = name + "="
	}
	return list
}

func capabilities() []string {
	list := []string{"all"}
	for _, name := range confine.AllCaps.Names() {
		list = append(list, strings.TrimPrefix(name, "CAP_"))
	}
	return list
}

// signals leaves out the real-time ones, which few programs know.
func signals() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(signal.SignalMap)), func(name string) bool {
		return strings.HasPrefix(name, "RT")
	})
}
