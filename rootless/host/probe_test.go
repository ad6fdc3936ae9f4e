package host

import (
	"slices"
	"testing"
	"testing/fstest"
)

func TestThrottles(t *testing.T) {
	const cpu = "devices/system/cpu/"
	event := &fstest.MapFile{}
	for _, row := range []struct {
		name string
		sys  fstest.MapFS
		want []string
	}{
		{"none", fstest.MapFS{cpu + "cpu0/topology/core_id": event}, nil},
		{"two", fstest.MapFS{
			cpu + "cpu0/thermal_throttle/core_throttle_count": event, cpu + "cpu11/thermal_throttle/core_throttle_count": event,
			cpu + "cpufreq/thermal_throttle/other": event, cpu + "cpu2/topology/core_id": event,
		}, []string{cpu + "cpu0/thermal_throttle", cpu + "cpu11/thermal_throttle"}},
	} {
		if got := throttles(row.sys); !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}
