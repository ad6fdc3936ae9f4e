package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is a part of what a measuring process found out.
type report struct {
	Versions []version
	Given    []portion
	Notes    []string // conditions that hold for all tables
	Sections []section
}

// write prints the tables; what is known of the tools only if told, as it is
// the same for every measuring process.
func (r report) write(out io.Writer, tools bool) error {
	errs := []error{}
	if tools && len(r.Versions) > 0 {
		errs = append(errs, writeVersions(out, r.Versions))
	}
	if tools && len(r.Given) > 0 {
		errs = append(errs, writePortions(out, r.Given))
	}
	for _, s := range r.Sections {
		errs = append(errs, s.write(out))
	}
	return errors.Join(errs...)
}

// version is a tool of the machine and what it says of itself.
type version struct{ Tool, Says string }

// section is one table: the same work done by several tools.
type section struct {
	Title string
	Unit  string
	More  bool // is better, as with what is moved in a second
	Rows  []row
	Notes []string
}

// row is one tool's figures. Samples are empty where Missing says why.
type row struct {
	Tool    string
	Base    string // the row of bryo that it is compared with; "" for bryo's own
	Samples []float64
	Target  float64 // what the ratio must not exceed, or with More must reach; 0 for none
	Limit   float64 // what the figure itself must not exceed; 0 for none
	Each    int     // processes for each container, where they are counted
	Missing string
	Note    string
}

// few is up to how many samples quartiles say nothing.
const few = 4

// write prints the table. Its ratios are bryo's figure through the row's own:
// below 1, bryo needs less.
func (s section) write(out io.Writer) error {
	fmt.Fprintf(out, "\n%s (%s)\n", s.Title, s.Unit)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.Join(s.heads(), "\t")+"\t")
	for _, r := range s.Rows {
		fmt.Fprintln(w, strings.Join(s.cells(r), "\t")+"\t")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range s.Rows {
		if r.Missing != "" {
			fmt.Fprintf(out, "  %s: missing: %s\n", r.Tool, r.Missing)
		} else if r.Note != "" {
			fmt.Fprintf(out, "  %s: %s\n", r.Tool, r.Note)
		}
	}
	for _, note := range s.Notes {
		fmt.Fprintf(out, "  %s\n", note)
	}
	return nil
}

// heads are the words above cells.
func (s section) heads() []string {
	heads := []string{s.left("")}
	switch {
	case s.samples() > few:
		heads = append(heads, "min", "p25", "median", "p75", "bryo/it p25", "bryo/it median")
	case s.samples() > 1:
		heads = append(heads, "min", "median", "bryo/it median")
	default:
		heads = append(heads, s.Unit, "bryo/it")
	}
	if s.counts() {
		heads = append(heads, "processes")
	}
	return append(heads, "target")
}

// cells has one cell for each of heads.
func (s section) cells(r row) []string {
	sum := summarize(r.Samples)
	base, compared := s.base(r)
	figures, ratios := []float64{sum.median}, []float64{base.median / sum.median}
	if s.samples() > 1 {
		figures = []float64{sum.min, sum.median}
	}
	if s.samples() > few {
		figures = []float64{sum.min, sum.p25, sum.median, sum.p75}
		ratios = []float64{base.p25 / sum.p25, base.median / sum.median}
	}
	cells := []string{s.left(r.Tool)}
	for _, f := range figures {
		cells = append(cells, figure(f, len(r.Samples) > 0))
	}
	for _, f := range ratios {
		cells = append(cells, figure(f, compared))
	}
	if s.counts() {
		cells = append(cells, figure(r.Each, r.Each > 0))
	}
	return append(cells, s.target(r, base.median/sum.median, compared))
}

func figure[N int | float64](n N, known bool) string {
	if !known {
		return "-"
	}
	if f, ok := any(n).(float64); ok {
		return fmt.Sprintf("%.2f", f)
	}
	return fmt.Sprint(n)
}

// left fills the first column up, which is the only one that is not aligned to
// the right.
func (s section) left(name string) string {
	widest := 0
	for _, r := range s.Rows {
		widest = max(widest, len(r.Tool))
	}
	return fmt.Sprintf("%-*s", widest, name)
}

// samples returns how many there are in the longest row.
func (s section) samples() int {
	most := 0
	for _, r := range s.Rows {
		most = max(most, len(r.Samples))
	}
	return most
}

// counts holds for tables of processes.
func (s section) counts() bool {
	return slices.ContainsFunc(s.Rows, func(r row) bool { return r.Each > 0 })
}

// base returns the figures of bryo that a row is compared with, if both are
// there.
func (s section) base(r row) (summary, bool) {
	i := slices.IndexFunc(s.Rows, func(b row) bool { return b.Tool == r.Base })
	if r.Base == "" || i < 0 || len(s.Rows[i].Samples) == 0 || len(r.Samples) == 0 {
		return summary{}, false
	}
	return summarize(s.Rows[i].Samples), true
}

// target says whether a ratio keeps to the row's target, to the two digits that
// are printed.
func (s section) target(r row, ratio float64, known bool) string {
	if r.Limit > 0 {
		r.Target, ratio, known = r.Limit, summarize(r.Samples).median, len(r.Samples) > 0
	}
	switch {
	case r.Target == 0:
		return ""
	case !known:
		return fmt.Sprintf("%.2f, open", r.Target)
	case !s.More && ratio < r.Target+0.005, s.More && ratio > r.Target-0.005:
		return fmt.Sprintf("%.2f, met", r.Target)
	}
	return fmt.Sprintf("%.2f, not met", r.Target)
}

// portion is what a tool gave to its container, as seen from inside.
type portion struct {
	Tool    string
	Missing string
	Given   given
}

// writePortions prints where the work of the tools differs.
func writePortions(out io.Writer, portions []portion) error {
	fmt.Fprintln(out, "\nwhat each gives to its container, as seen from inside")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\town namespaces\tids\tmounts\tno_new_privs\tseccomp\tcapabilities")
	for _, p := range portions {
		if p.Missing != "" {
			fmt.Fprintf(w, "%s\tmissing: %s\n", p.Tool, p.Missing)
			continue
		}
		g := p.Given
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%d\n",
			p.Tool, strings.Join(g.Own, " "), g.IDs, len(g.Mounts), yes(g.NoNewPrivs), filter(g.Seccomp), g.Caps)
	}
	return w.Flush()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func filter(on bool) string {
	if on {
		return "filter"
	}
	return "none"
}

func writeVersions(out io.Writer, versions []version) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, v := range versions {
		fmt.Fprintf(w, "%s\t%s\n", v.Tool, v.Says)
	}
	return w.Flush()
}
