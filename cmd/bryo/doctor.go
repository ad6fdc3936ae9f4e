package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/rootless/host"
	"bryo/rootless/launch"
	"bryo/rootless/program"
)

// Exit codes of doctor.
const (
	exitDegraded = 1
	exitUnusable = 2
)

// examination is what a command line of doctor asks for.
type examination struct {
	json, fixScript bool
	topic           string
}

const doctorAbout = `It prints what it found, each with what mends it, and a verdict.
The exit status is 0 if containers can run here, 1 if they can but not with everything, 2 if they cannot.`

func doctorFlags(e *examination) *pflag.FlagSet {
	flags := pflag.NewFlagSet("doctor", pflag.ContinueOnError)
	flags.Usage = func() {}
	flags.BoolVar(&e.json, "json", false, "print the findings as JSON, with stable ids")
	flags.BoolVar(&e.fixScript, "fix-script", false, "print a script for the administrator; it is not run")
	return flags
}

func doctorSyntax() *pflag.FlagSet { return doctorFlags(&examination{}) }

func parseDoctor(args []string, s streams) (examination, error) {
	var e examination
	flags := doctorFlags(&e)
	flags.SetOutput(s.err)
	if err := flags.Parse(args); err != nil {
		return e, err
	}
	topics := "one of " + strings.Join(host.Topics(), " ")
	switch e.topic = flags.Arg(0); {
	case e.json && e.fixScript:
		return e, errors.New("doctor: --json and --fix-script exclude each other\nfix: give one of them")
	case flags.NArg() > 1:
		return e, errors.New("doctor: more than one topic\nfix: give none for all, or " + topics)
	case e.topic != "" && !slices.Contains(host.Topics(), e.topic):
		return e, fmt.Errorf("doctor: there is no topic %q\nfix: give none for all, or %s", e.topic, topics)
	}
	return e, nil
}

// runDoctor finds out what keeps containers from running here. Its exit code
// is the verdict.
func runDoctor(args []string, s streams) int {
	e, err := parseDoctor(args, s)
	if errors.Is(err, pflag.ErrHelp) {
		return runHelp([]string{"doctor"}, s)
	}
	if err != nil {
		return report(s, err)
	}
	findings := host.Diagnose(e.topic)
	var text string
	switch {
	case e.json:
		text, err = findingsJSON(findings)
	case e.fixScript:
		text = host.FixScript(findings)
	default:
		text = findingsText(findings)
	}
	if err == nil {
		_, err = io.WriteString(s.out, text)
	}
	if err != nil {
		return report(s, err)
	}
	return doctorExit(host.Worst(findings))
}

func doctorExit(worst host.Level) int {
	switch worst {
	case host.Unusable:
		return exitUnusable
	case host.Degraded:
		return exitDegraded
	case host.OK, host.Note:
	}
	return exitOK
}

// hints looks on this host for the cause of a failed launch: what to print in
// the error's place, at most three lines, and nil when the host is not to
// blame.
func hints(err error) []string {
	f, found := host.Cause(topicOf(err))
	if !found {
		return nil
	}
	what, _, _ := strings.Cut(err.Error(), "\n")
	return f.Advice(what)
}

// topicOf is doctor's topic for a launch's error, "" for none.
func topicOf(err error) string {
	var clone *program.CloneError
	var helper *launch.HelperError
	var step *launch.StepError
	switch {
	case errors.As(err, &clone):
		return host.Topic("clone3", clone.Errno)
	case errors.As(err, &helper):
		return host.Topic(helper.Tool, 0)
	case errors.As(err, &step):
		return host.Topic(step.Step, unix.Errno(step.Errno))
	}
	return ""
}

// findingsText is a line for each finding, its fix below it, and the verdict.
func findingsText(findings []host.Finding) string {
	var b strings.Builder
	script := false
	for i := range findings {
		f := &findings[i]
		fmt.Fprintf(&b, "%-9s %-8s %s\n", f.Level, f.Topic, f.Cause)
		if f.Fix != "" {
			fmt.Fprintf(&b, "%-18s fix: %s\n", "", f.Fix)
		}
		script = script || f.Script != ""
	}
	fmt.Fprintf(&b, "\n%s\n", verdict(host.Worst(findings)))
	if script {
		b.WriteString("For the administrator: bryo doctor --fix-script\n")
	}
	return b.String()
}

func verdict(worst host.Level) string {
	switch worst {
	case host.Unusable:
		return "Unusable: bryo cannot start containers here."
	case host.Degraded:
		return "Degraded: bryo starts containers here, but not with everything."
	case host.OK, host.Note:
	}
	return "Usable: bryo starts containers here."
}

// diagnosis is what --json prints; its names and the ids in it are kept.
type diagnosis struct {
	Status   string    `json:"status"` // usable, degraded, unusable
	Findings []finding `json:"findings"`
}

type finding struct {
	ID     string `json:"id"`
	Topic  string `json:"topic"`
	Level  string `json:"level"` // ok, note, degraded, unusable
	Cause  string `json:"cause"`
	Fix    string `json:"fix,omitempty"`
	Script string `json:"script,omitempty"`
	Seen   string `json:"seen,omitempty"`
}

func findingsJSON(findings []host.Finding) (string, error) {
	d := diagnosis{Status: "usable", Findings: []finding{}}
	if worst := host.Worst(findings); worst >= host.Degraded {
		d.Status = worst.String()
	}
	for i := range findings {
		f := &findings[i]
		d.Findings = append(d.Findings, finding{f.ID, f.Topic, f.Level.String(), f.Cause, f.Fix, f.Script, f.Seen})
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(d)
	return b.String(), err
}
