package host

import (
	"strings"

	"bryo/rootless/cgroup"
)

// cgroupFindings are about limits, which few containers ask for.
func (s *symptoms) cgroupFindings() []Finding {
	refusal := s.cgroup.Lacks(cgroup.Few()...)
	if refusal == nil {
		if refusal = s.cgroup.Lacks(cgroup.All()...); refusal != nil {
			refusal.ID = "few-controllers"
		}
	}
	if refusal == nil {
		return []Finding{{ID: "cgroup", Topic: onCgroup, Cause: "containers can have cgroups, with all controllers: " + strings.Join(cgroup.All(), " ")}}
	}
	return []Finding{{ID: refusal.ID, Topic: onCgroup, Level: Note, Cause: refusal.Why, Fix: refusal.Fix, Script: refusal.Script}}
}
