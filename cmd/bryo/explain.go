package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"bryo/fsroot"
	"bryo/netslirp"
	"bryo/rootless"
	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/ns"
)

const explainAbout = `Everything is decided before anything is done.
This prints the decisions: namespaces, id map, mounts, capabilities, or with --program the very system calls, in the words of strace.`

// runExplain takes run's arguments and prints what run would do.
func runExplain(args []string, s streams) int {
	flags, r, asProgram, asJSON := explainFlags(s)
	err := parse(flags, args)
	if err == nil && *asProgram && *asJSON {
		err = errors.New("--program and --json exclude each other\nfix: give one of them")
	}
	if err == nil {
		err = r.finish(flags.Args(), flags)
	}
	if err != nil {
		return report(s, err)
	}
	plan, err := r.explained(s)
	if err != nil {
		return report(s, err)
	}
	switch {
	case *asProgram:
		err = printPrograms(s.out, plan)
	case *asJSON:
		plan.Process.Seccomp.Sum()
		return writeJSON(s, plan)
	default:
		err = printPlan(s.out, plan)
	}
	if err != nil {
		return report(s, err)
	}
	return exitOK
}

// explained is the plan. Nothing is pulled for it, and a directory that is made for
// it goes again.
func (r *request) explained(s streams) (decided *rootless.Plan, err error) {
	used, err := r.takeImage(false, s)
	defer used.close()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, used.discard(s)) }()
	if used != nil {
		id, err := host.NewID()
		if err != nil {
			return nil, err
		}
		if err := r.adopt(used, id+foreground, s); err != nil {
			return nil, err
		}
	}
	return plan(&r.spec)
}

func explainFlags(s streams) (flags *pflag.FlagSet, r *request, asProgram, asJSON *bool) {
	flags, r = runFlags(s)
	return flags, r, flags.Bool("program", false, "print the system calls"), flags.Bool("json", false, "print the plan as JSON")
}

func explainSyntax() *pflag.FlagSet {
	flags, _, _, _ := explainFlags(streams{})
	return flags
}

func printPrograms(w io.Writer, plan *rootless.Plan) error {
	setup, stage := launch.Programs(plan)
	if _, err := fmt.Fprintln(w, "### outside the container, in its namespaces"); err != nil {
		return err
	}
	if err := setup.List(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "\n### inside, from the sealed stage"); err != nil {
		return err
	}
	return stage.List(w)
}

// printPlan prints the plan as a person reads it.
func printPlan(w io.Writer, plan *rootless.Plan) error {
	return printRows(w, func(row rows) { printDecisions(row, plan) })
}

func printDecisions(row rows, plan *rootless.Plan) {
	for _, warning := range plan.Warnings {
		row("warning", "%s", warning)
	}
	for _, control := range plan.GivenUp {
		row("given up", "%s", control)
	}
	row("command", "%s", strings.Join(quoted(plan.Process.Argv), " "))
	row("user", "%d:%d%s", plan.Process.UID, plan.Process.GID, groups(plan.Process.Groups))
	row("directory", "%s", plan.Process.Dir)
	for _, k := range ns.All() {
		row(k.File()+" namespace", "%s", plan.Namespaces[k])
	}
	row("user ids", "%s", extents(plan.IDs.Maps.UID.Lines()))
	row("group ids", "%s", extents(plan.IDs.Maps.GID.Lines()))
	if s := plan.Squash; s != nil {
		row("squash", "looks like %d:%d%s; owners, users and groups are made up", s.UID, s.GID, groups(s.Groups))
	}
	printNetwork(row, &plan.Network)
	printRoot(row, plan)
	row("host name", "%s", plan.Hostname)
	if plan.Cgroup.On() {
		row("limits", "%s, in a cgroup of its own", plan.Cgroup.Limits.String())
	}
	printSecurity(row, plan)
}

func printNetwork(row rows, n *rootless.Network) {
	c := &n.Config
	switch c.Driver {
	case netslirp.DriverNone:
		return
	case netslirp.DriverUser:
		device := "a TUN device"
		if c.Link == netslirp.Veth {
			device = "a veth pair, for there is no usable /dev/net/tun"
		}
		row("network", "bryo's own stack on %s: %s/%d, %s/%d, mtu %d", device, netslirp.Address4(), netslirp.Bits4, netslirp.Address6(), netslirp.Bits6, c.MTU)
	case netslirp.DriverSlirp4netns, netslirp.DriverPasta:
		row("network", "%s, mtu %d", c.Driver, c.MTU)
	}
	for _, r := range c.Rules {
		row("rule", "%s %s", r.Verdict, r)
	}
	if len(c.Rules) > 0 {
		row("rule", "%s the rest", c.Default)
	}
	if c.HostLoopback.Open {
		row("host loopback", "open through the gateway's address, ports %s", loopbackPorts(c.HostLoopback.Ports))
	}
	if len(c.Nameservers) > 0 {
		row("name servers", "%s", strings.Trim(fmt.Sprint(c.Nameservers), "[]"))
	}
	if c.Rate != (netslirp.Rate{}) {
		row("rate", "%d bytes/s out, %d in; 0 is no limit", c.Rate.Up, c.Rate.Down)
	}
	printNetFiles(row, n)
	for _, p := range c.Publish {
		row("published", "%s", p)
	}
}

func printNetFiles(row rows, n *rootless.Network) {
	for _, file := range []struct{ name, path string }{
		{"flow log", n.LogFile}, {"packets", n.PcapFile}, {"port socket", n.Config.PortSocket},
	} {
		if file.path != "" {
			row(file.name, "%s", file.path)
		}
	}
}

func loopbackPorts(list []netslirp.PortRange) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Trim(fmt.Sprint(list), "[]")
}

func printRoot(row rows, plan *rootless.Plan) {
	root := &plan.Root
	how := "written to directly"
	switch {
	case root.Stack != nil:
		row("image", "%d layers in %s, read-only", len(root.Stack.Layers), root.Stack.Dir.Path)
		how = stackedHow(root)
	case root.Layer && root.ReadOnly:
		how = "read-only, mount points on a layer in memory"
	case root.Layer:
		how = "writes are thrown away"
	case root.ReadOnly:
		how = "read-only"
	}
	row("root", "%s, %s", root.Root.Path, how)
	row("mounts", "%s", strings.Join(root.Standard(), " "))
	for _, f := range root.Files {
		row("file", "%s, written by bryo", f.Target)
	}
	for i := range root.Mounts {
		m := &root.Mounts[i]
		row("mount", "%s", strings.TrimSpace(m.Target+" "+m.Type.String()+" "+m.Source))
	}
	for _, d := range root.Devices {
		row("device", "%s", d.Target)
	}
	for _, s := range root.Sysctls {
		row("sysctl", "%s=%s", s.Path, s.Value)
	}
}

// stackedHow says what becomes of what is written on top of an image.
func stackedHow(root *fsroot.Plan) string {
	switch {
	case root.ReadOnly:
		return "read-only, with mount points on top of the image"
	case root.Layer:
		return "on top of the image, writes are thrown away"
	case root.Stack.Volatile:
		return "written to on top of the image, and removed at the end"
	}
	return "written to on top of the image"
}

func quoted(argv []string) []string {
	list := make([]string, len(argv))
	for i, a := range argv {
		list[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$&|;<>()*?#~`") {
			list[i] = fmt.Sprintf("%q", a)
		}
	}
	return list
}

func groups(list []uint32) string {
	var b strings.Builder
	for _, g := range list {
		fmt.Fprintf(&b, ",%d", g)
	}
	return b.String()
}

// extents prints a map as ranges inside -> outside.
func extents(lines string) string {
	var list []string
	for line := range strings.Lines(lines) {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil {
			list = append(list, fmt.Sprintf("%d-%d -> %d-%d", inside, inside+count-1, outside, outside+count-1))
		}
	}
	return strings.Join(list, ", ")
}
