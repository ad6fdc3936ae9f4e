package fsroot

// mask is a path of /proc or /sys that the container must not see.
type mask struct {
	path string
	dir  bool
}

// procMasks are below /proc: what tells about the host's hardware, keys and
// kernel addresses.
func procMasks() []mask {
	return []mask{
		{"acpi", true},
		{"asound", true},
		{"dynamic_debug", true},
		{"scsi", true},
		{"apm", false},
		{"config.gz", false},
		{"interrupts", false},
		{"kallsyms", false},
		{"kcore", false},
		{"key-users", false},
		{"keys", false},
		{"latency_stats", false},
		{"mtrr", false},
		{"sched_debug", false},
		{"timer_list", false},
		{"timer_stats", false},
		{"vmallocinfo", false},
	}
}

// procReadOnly are below /proc: what changes the host, or could.
func procReadOnly() []string {
	return []string{"bus", "driver", "fs", "irq", "sys", "sysrq-trigger"}
}

// sysMasks are below /sys, with the directories that tell how hot each processor
// is, and so what others compute.
func (pl *Plan) sysMasks() []mask {
	list := []mask{
		{"dev/block", true},
		{"firmware", true},
		{"fs/bpf", true},
		{"fs/selinux", true},
		{"devices/virtual/powercap", true},
		{"kernel/boot_params", true},
		{"kernel/debug", true},
		{"kernel/security", true},
		{"kernel/tracing", true},
		{"kernel/notes", false},
		{"kernel/vmcoreinfo", false},
	}
	for _, dir := range pl.Throttles {
		list = append(list, mask{dir, true})
	}
	return list
}

// node is a device that every container has, by the number that Linux gives
// it: Documentation/admin-guide/devices.txt.
type node struct {
	name         string
	major, minor uint32
}

func nodes() []node {
	return []node{
		{"null", 1, 3},
		{"zero", 1, 5},
		{"full", 1, 7},
		{"random", 1, 8},
		{"urandom", 1, 9},
		{"tty", 5, 0},
	}
}

// link is a symbolic link in /dev.
type link struct{ name, target string }

func links() []link {
	return []link{
		{"fd", "/proc/self/fd"},
		{"stdin", "/proc/self/fd/0"},
		{"stdout", "/proc/self/fd/1"},
		{"stderr", "/proc/self/fd/2"},
		{"ptmx", "pts/ptmx"},
	}
}

// Where standard mounts go.
const (
	procDir = "proc"
	sysDir  = "sys"
	devDir  = "dev"

	cgroupDir = "fs/cgroup" // in sysDir
)

// Standard describes what is mounted in every container of the plan.
func (pl *Plan) Standard() []string {
	list := []string{"/proc", "/sys", "/dev", "/dev/pts", "/dev/shm"}
	if pl.Proc == HostProc {
		list[0] += " (the host's)"
	}
	if pl.Sys == EmptySys {
		list[1] += " (empty)"
	}
	if pl.Cgroup {
		list = append(list, "/"+sysDir+"/"+cgroupDir)
	}
	if !pl.HostIPC {
		list = append(list, "/dev/mqueue")
	}
	return list
}

// Masked lists the paths that the container does not see, where the kernel has
// them.
func (pl *Plan) Masked() []string {
	var list []string
	for _, m := range procMasks() {
		list = append(list, "/"+procDir+"/"+m.path)
	}
	for _, m := range pl.sysMasks() {
		list = append(list, "/"+sysDir+"/"+m.path)
	}
	return list
}

// ReadOnlyPaths lists the paths that the container cannot write to, likewise.
func ReadOnlyPaths() []string {
	var list []string
	for _, path := range procReadOnly() {
		list = append(list, "/"+procDir+"/"+path)
	}
	return list
}
