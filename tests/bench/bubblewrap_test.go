package main

import (
	"strings"
	"testing"
)

func TestLikewise(t *testing.T) {
	dirs := func(name string) bool { return name == "/proc/acpi" }
	for _, test := range []struct {
		name    string
		mounts  []string
		want    string
		without int
	}{
		{"the root is an option of its own", []string{"1 0 8:1 /root / rw - ext4 /dev/a rw"}, "", 0},
		{"proc", []string{"2 1 0:5 / /proc rw - proc proc rw"}, "--proc /proc", 0},
		{"read-only below proc", []string{"3 2 0:5 /sys /proc/sys ro - proc proc rw"}, "--ro-bind /proc/sys /proc/sys", 0},
		{"a masked file", []string{"3 2 0:6 /null /proc/keys ro - devtmpfs dev rw"}, "--ro-bind /dev/null /proc/keys", 0},
		{"a masked directory", []string{"3 2 0:7 / /proc/acpi ro - tmpfs none ro"}, "--tmpfs /proc/acpi --remount-ro /proc/acpi", 0},
		{"sysfs is beyond it", []string{"4 1 0:8 / /sys ro - sysfs sysfs rw", "5 4 0:7 / /sys/firmware ro - tmpfs none ro"}, "", 2},
		{"dev with its nodes", []string{
			"6 1 0:9 / /dev rw - tmpfs dev rw",
			"7 6 0:6 /null /dev/null rw - devtmpfs dev rw",
			"8 6 0:10 / /dev/pts rw - devpts devpts rw",
			"9 6 0:11 / /dev/shm rw - tmpfs shm rw",
			"10 6 0:12 / /dev/mqueue rw - mqueue mqueue rw",
		}, "--dev /dev --tmpfs /dev/shm --mqueue /dev/mqueue", 0},
		{"files of etc", []string{
			"11 1 0:13 /x/hosts /etc/hosts ro,nosuid - tmpfs t rw",
			"12 1 0:13 /x/hostname /etc/hostname rw - tmpfs t rw",
		}, "--ro-bind /files/hosts /etc/hosts --bind /files/hostname /etc/hostname", 0},
		{"a place for temporary files", []string{"13 1 0:14 / /tmp rw - tmpfs t rw"}, "--tmpfs /tmp", 0},
		{"parents come first", []string{
			"20 21 0:5 /sys /proc/sys ro - proc proc rw",
			"21 1 0:5 / /proc rw - proc proc rw",
		}, "--proc /proc --ro-bind /proc/sys /proc/sys", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			options, without, err := likewise(test.mounts, "/files", dirs)
			if got := strings.Join(options, " "); err != nil || got != test.want || without != test.without {
				t.Errorf("%q, %d, %v, want %q, %d", got, without, err, test.want, test.without)
			}
		})
	}
	if _, _, err := likewise([]string{"no mount"}, "/files", dirs); err == nil {
		t.Error("a line that is no mount is taken")
	}
}
