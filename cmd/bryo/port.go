package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/ns"
	"bryo/rootless/state"
)

// portSocket is where the network of a detached container is asked for ports,
// in the container's directory, unless --port-socket says otherwise.
const portSocket = "ports"

const portAbout = `PORT is what --publish takes: [ADDR:][HOST:]PORT[/udp], where PORT is the container's; HOST is the host's, a free one if it is left out; and ADDR is 127.0.0.1 unless told.
Both may be ranges of the same length.
rm also takes a number that ls shows.
What is added or removed lasts until the container ends.

A container can be asked if it was started with --publish or --port-socket.`

func portExamples() []string {
	return []string{
		"bryo port web",
		"bryo port add web 8443:443 5353:53/udp",
		"bryo port add web 0.0.0.0:8000-8009:80-89",
		"bryo port rm web 8443:443",
	}
}

// runPort lists, adds and removes published ports of a container that runs.
func runPort(args []string, s streams) int {
	flags := verbFlags("port", s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	args = flags.Args()
	if len(args) == 1 {
		return report(s, listPorts(args[0], s, portLines))
	}
	const least = 3
	switch {
	case len(args) == 2 && args[0] == "ls":
		return report(s, listPorts(args[1], s, portTable))
	case len(args) >= least && args[0] == "add":
		return report(s, addPorts(args[1], args[2:], s))
	case len(args) >= least && args[0] == "rm":
		return report(s, removePorts(args[1], args[2:]))
	}
	return report(s, errors.New("port takes a container, or what to do with it\nfix: bryo port CONTAINER, bryo port ls CONTAINER, bryo port add CONTAINER 8080:80, or bryo port rm CONTAINER 8080:80"))
}

func listPorts(name string, s streams, show func([]netslirp.Published) string) error {
	n, err := openNetwork(name)
	if err != nil {
		return err
	}
	list, err := n.ask("ls")
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.out, show(list))
	return err
}

// portLines is how podman and docker show ports.
func portLines(list []netslirp.Published) string {
	var b strings.Builder
	for _, p := range list {
		host, _ := strings.CutSuffix(p.String(), fmt.Sprintf(":%d/%s", p.ChildPort, p.Protocol))
		fmt.Fprintf(&b, "%d/%s -> %s\n", p.ChildPort, p.Protocol, host)
	}
	return b.String()
}

func portTable(list []netslirp.Published) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPORT")
	for _, p := range list {
		fmt.Fprintf(w, "%d\t%s\n", p.ID, p)
	}
	_ = w.Flush() // a Builder takes everything
	return b.String()
}

// addPorts adds all or none, and prints them: the host's port may have been chosen.
func addPorts(name string, texts []string, s streams) error {
	for _, text := range texts {
		if _, err := netslirp.ParsePublish(text); err != nil {
			return err
		}
	}
	n, err := openNetwork(name)
	if err != nil {
		return err
	}
	added, err := n.ask(append([]string{"add"}, texts...)...)
	if err != nil {
		return err
	}
	for _, p := range added {
		if _, err := fmt.Fprintln(s.out, p); err != nil {
			return err
		}
	}
	return n.note()
}

func removePorts(name string, texts []string) error {
	n, err := openNetwork(name)
	if err != nil {
		return err
	}
	list, err := n.ask("ls")
	if err != nil {
		return err
	}
	var ids []string
	for _, text := range texts {
		found, err := meant(list, text)
		if err != nil {
			return err
		}
		ids = append(ids, found...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids) // two texts may mean one port
	_, err = n.ask(append([]string{"rm"}, ids...)...)
	return errors.Join(err, n.note())
}

// meant are the numbers of the ports that a number, or what was given to add
// them, stands for. A host port that is left out stands for any, if there is
// only one.
func meant(list []netslirp.Published, text string) (ids []string, err error) {
	if id, err := strconv.Atoi(text); err == nil {
		if !slices.ContainsFunc(list, func(p netslirp.Published) bool { return p.ID == id }) {
			return nil, fmt.Errorf("no port has the number %d\nfix: bryo port ls shows the numbers", id)
		}
		return []string{text}, nil
	}
	asked, err := netslirp.ParsePublish(text)
	if err != nil {
		return nil, err
	}
	for _, a := range asked {
		var found []string
		for _, p := range list {
			same := p.Publish
			if a.HostPort == 0 {
				same.HostPort = 0
			}
			if same == a {
				found = append(found, strconv.Itoa(p.ID))
			}
		}
		if len(found) != 1 {
			const fix = "\nfix: bryo port ls shows those that are, with a number for each"
			if len(found) == 0 {
				return nil, fmt.Errorf("%s is not published%s", a, fix)
			}
			return nil, fmt.Errorf("%s may be each of %d that are published%s", a, len(found), fix)
		}
		ids = append(ids, found[0])
	}
	return ids, nil
}

// portNetwork is the network process of a container, which adds and removes ports.
type portNetwork struct {
	entry           *state.Entry
	program, socket string
}

func openNetwork(name string) (*portNetwork, error) {
	entry, record, plan, err := decidedContainer(name)
	if err != nil {
		return nil, err
	}
	config, err := entry.Config()
	if err != nil {
		return nil, err
	}
	n := networkIn(entry, plan, config.Options.Dir)
	mode := plan.Namespaces[ns.Net].Mode
	switch {
	case mode == ns.Join:
		return nil, fmt.Errorf("container %s has the network of another one, whose ports lead to both\nfix: bryo port that one", record.Name)
	case mode == ns.Host:
		return nil, fmt.Errorf("container %s has the host's network, and with it the host's ports", record.Name)
	case plan.Network.Config.Driver == netslirp.DriverNone:
		return nil, fmt.Errorf("container %s has no network\nfix: start it without --net none, and with -p PORT", record.Name)
	case n == nil:
		return nil, fmt.Errorf("container %s was started without ports, and can be given none\nfix: start it with -p PORT, or with --port-socket FILE to add ports later", record.Name)
	}
	return n, nil
}

// networkIn is the network of a container that was started by this plan, in
// this working directory; nil without ports.
func networkIn(entry *state.Entry, plan *rootless.Plan, dir string) *portNetwork {
	socket := plan.Network.Config.PortSocket
	if socket == "" {
		return nil
	}
	if !filepath.IsAbs(socket) {
		socket = filepath.Join(dir, socket)
	}
	return &portNetwork{entry, plan.Network.Program, socket}
}

// ask has bryo-net ask the other one: bryo itself speaks no HTTP.
func (n *portNetwork) ask(args ...string) (list []netslirp.Published, err error) {
	out, errs, err := output(n.program, append([]string{"bryo-net", "port", n.socket}, args...))
	if err != nil {
		return nil, err
	}
	if len(errs) > 0 {
		return nil, errors.New(strings.TrimSuffix(string(errs), "\n"))
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("ask the container's network: %w", err)
	}
	return list, nil
}

// note keeps what is published for those that only read.
func (n *portNetwork) note() error {
	return n.entry.Change(func(r *state.Record) error {
		list, err := n.ask("ls")
		if err == nil {
			r.Ports = portTexts(list)
		}
		return err
	})
}

func portTexts(list []netslirp.Published) (texts []string) {
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}

// output runs a program and returns what it prints.
func output(path string, argv []string) (out, errs []byte, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	var pipes [2]struct{ read, write *os.File }
	for i := range pipes {
		if pipes[i].read, pipes[i].write, err = os.Pipe(); err != nil {
			return nil, nil, err
		}
		defer pipes[i].read.Close()
		defer pipes[i].write.Close()
	}
	process, err := os.StartProcess(path, argv, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{null, pipes[0].write, pipes[1].write}}) //nolint:gosec // bryo-net, which was found beside bryo
	if err != nil {
		return nil, nil, err
	}
	for i := range pipes {
		_ = pipes[i].write.Close()
	}
	// It says something on one of them only, until it has ended.
	if out, err = io.ReadAll(pipes[0].read); err == nil {
		errs, err = io.ReadAll(pipes[1].read)
	}
	ended, waitErr := process.Wait()
	if err = errors.Join(err, waitErr); err == nil && !ended.Success() && len(errs) == 0 {
		err = fmt.Errorf("%s: %s", filepath.Base(path), ended)
	}
	return out, errs, err
}
