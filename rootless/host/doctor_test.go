package host

import (
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bryo/idmap"
	"bryo/rootless/cgroup"
	"bryo/rootless/ns"
)

// healthy is a host on which everything works.
func healthy() *symptoms {
	works := attempt{tried: true}
	s := &symptoms{
		user:    user{uid: 1000, gid: 1000, name: "alice", passwdGID: 1000, inPasswd: true, program: "/usr/bin/bryo", dumpable: true},
		kernel:  kernelFacts{release: "6.8.0-50-generic", usernsFile: true, maxUserns: "28633", procMounted: true},
		guard:   guard{boundingSet: ^uint64(0)},
		alone:   works,
		inside:  inside{ran: works, mapIDs: works, tmpfs: works, overlay: works, proc: works, tun: works, landlock: works},
		ranges:  ranges{uids: 65536, gids: 65536, source: "files", free: 165536},
		install: "apt-get install uidmap",
		tun:     tun{exists: true, isTun: true},
		network: connection{program: "/usr/bin/bryo-net", ping: works},
		image:   imageProgram{path: "/usr/bin/bryo-image", build: "v1", own: "v1"},
		runtime: directory{path: "/run/user/1000", owner: 1000, writable: true},
		home:    directory{path: "/home/alice", owner: 1000, writable: true, mount: "/home"},
		cgroup: cgroup.Facts{
			Unified: true, Program: "/usr/bin/bryo-cgroup",
			Manager: cgroup.Manager{Socket: "/run/user/1000/bus", Controllers: cgroup.All()},
		},
	}
	for i, name := range []string{"newuidmap", "newgidmap"} {
		s.helpers[i] = helper{name: name, path: "/usr/bin/" + name, setuid: true, run: true, wrote: true}
	}
	for _, c := range callList() {
		s.inside.calls = append(s.inside.calls, callTrial{c, unix.EINVAL})
	}
	return s
}

// refuse makes the clone of a user namespace fail, with all that follows.
func refuse(errno unix.Errno) func(*symptoms) {
	return func(s *symptoms) {
		s.alone = attempt{tried: true, errno: errno, call: "clone3"}
		s.bare = unix.EINVAL
		s.inside = inside{}
		for i := range s.helpers {
			s.helpers[i].run, s.helpers[i].wrote = false, false
		}
	}
}

func both(change ...func(*symptoms)) func(*symptoms) {
	return func(s *symptoms) {
		for _, c := range change {
			c(s)
		}
	}
}

// silent makes the helpers fail with what they say for three causes alike.
func silent(s *symptoms) {
	for i := range s.helpers {
		h := &s.helpers[i]
		h.wrote, h.status, h.stderr = false, 1, "write to uid_map failed: Operation not permitted"
	}
}

// answer makes a system call answer with errno.
func answer(errno unix.Errno, names ...string) func(*symptoms) {
	return func(s *symptoms) {
		for i := range s.inside.calls {
			if slices.Contains(names, s.inside.calls[i].name) {
				s.inside.calls[i].errno = errno
			}
		}
	}
}

// ubuntu is the restriction of Ubuntu 23.10 and later.
func ubuntu(s *symptoms) {
	s.guard.appArmor, s.guard.restricted, s.guard.label = true, true, "unconfined"
}

func filtered(s *symptoms) { s.guard.seccomp = true }

func failed(errno unix.Errno, call string) attempt {
	return attempt{tried: true, errno: errno, call: call}
}

type condition struct {
	name   string
	change func(*symptoms)
	want   []string // ids of what is not OK
	level  Level
	says   string // in a cause, fix or script
}

func TestFindingsOfUserns(t *testing.T) {
	check(t, []condition{
		{"nothing is wrong", func(*symptoms) {}, nil, OK, ""},
		{"limit 0", both(refuse(unix.ENOSPC), func(s *symptoms) { s.kernel.maxUserns = "0" }), []string{"max-user-namespaces"}, Unusable, "sysctl -w user.max_user_namespaces=28633"},
		{"nested too deep", refuse(unix.ENOSPC), []string{"user-namespaces-used-up"}, Unusable, "32"},
		{"nested too deep, before 4.9", refuse(unix.EUSERS), []string{"user-namespaces-used-up"}, Unusable, "32"},
		{"process limit", refuse(unix.EAGAIN), []string{"process-limit"}, Unusable, "pids.max"},
		{"Debian's sysctl", both(refuse(unix.EPERM), func(s *symptoms) { s.kernel.debianClone = "0" }), []string{"unprivileged-userns-clone"}, Unusable, "/etc/sysctl.d/90-bryo-kernel-unprivileged_userns_clone.conf"},
		{"Debian's sysctl is on", both(refuse(unix.EPERM), func(s *symptoms) { s.kernel.debianClone = "1" }), []string{"userns-refused"}, Unusable, "dmesg"},
		{"a filter says EPERM", both(refuse(unix.EPERM), filtered, func(s *symptoms) { s.bare = unix.EPERM }), []string{"seccomp-userns"}, Unusable, "seccomp=unconfined"},
		{"a filter says ENOSYS", both(refuse(unix.ENOSYS), filtered, func(s *symptoms) { s.bare = unix.ENOSYS }), []string{"seccomp-userns"}, Unusable, "seccomp=unconfined"},
		{"a filter says EACCES", both(refuse(unix.EACCES), filtered, func(s *symptoms) { s.bare = unix.EACCES }), []string{"seccomp-userns"}, Unusable, "seccomp=unconfined"},
		{"a filter that has nothing to do with it", both(refuse(unix.EPERM), filtered, func(s *symptoms) { s.kernel.debianClone = "0" }), []string{"unprivileged-userns-clone"}, Unusable, ""},
		{"a filter hides the sysctl", both(refuse(unix.EPERM), filtered, func(s *symptoms) { s.bare, s.kernel.debianClone = unix.EPERM, "0" }), []string{"seccomp-userns"}, Unusable, ""},
		{"a kernel without clone3", both(refuse(unix.ENOSYS), func(s *symptoms) { s.kernel.release = "4.19.0" }), []string{"missing-calls"}, Unusable, "5.10"},
		{"built without", both(refuse(unix.EINVAL), func(s *symptoms) { s.kernel.usernsFile = false }), []string{"no-user-namespaces"}, Unusable, "CONFIG_USER_NS"},
		{"chroot", both(refuse(unix.EPERM), func(s *symptoms) { s.kernel.chrooted = true }), []string{"chroot"}, Unusable, "pivot_root"},
		{"AppArmor at clone", both(refuse(unix.EACCES), ubuntu), []string{"apparmor-userns"}, Unusable, "profile bryo \"/usr/bin/bryo{,-oci}\""},
		{"AppArmor at clone with a mount namespace", both(refuse(unix.EPERM), ubuntu), []string{"apparmor-userns"}, Unusable, "userns,"},
		{"a profile without userns", both(refuse(unix.EACCES), func(s *symptoms) { s.guard.appArmor, s.guard.label = true, "docker-default (enforce)" }), []string{"apparmor-userns"}, Unusable, "profile docker-default refuses"},
		{"AppArmor confines nothing", both(refuse(unix.EACCES), func(s *symptoms) { s.guard.appArmor, s.guard.label = true, "bryo (unconfined)" }), []string{"userns-refused"}, Unusable, ""},
		{"SELinux", both(refuse(unix.EACCES), func(s *symptoms) { s.guard.seLinux = true }), []string{"selinux-userns"}, Unusable, "audit2allow"},
		{"AppArmor at uid_map", both(ubuntu, func(s *symptoms) { s.inside.mapIDs = failed(unix.EPERM, "write") }), []string{"apparmor-uid-map"}, Unusable, "apparmor_parser -r"},
		{"AppArmor at uid_map and at the helpers", both(silent, ubuntu, func(s *symptoms) { s.inside.mapIDs = failed(unix.EPERM, "write") }), []string{"apparmor-uid-map"}, Unusable, ""},
		{"a clone refused and helpers missing", both(refuse(unix.EPERM), func(s *symptoms) {
			s.kernel.debianClone = "0"
			s.helpers[0].path, s.helpers[1].path = "", ""
		}), []string{"unprivileged-userns-clone", "newuidmap-missing", "newgidmap-missing"}, Unusable, ""},
		{"AppArmor at uid_map, EACCES", both(ubuntu, func(s *symptoms) { s.inside.mapIDs = failed(unix.EACCES, "openat") }), []string{"apparmor-uid-map"}, Unusable, ""},
		{"AppArmor known by the child's label", func(s *symptoms) {
			s.guard.appArmor, s.guard.childLabel, s.inside.mapIDs = true, "unprivileged_userns (enforce)", failed(unix.EPERM, "write")
		}, []string{"apparmor-uid-map"}, Unusable, "userns,"},
		{"AppArmor at mount", both(ubuntu, func(s *symptoms) {
			s.inside.tmpfs, s.inside.proc, s.inside.overlay = failed(unix.EPERM, "fsopen"), failed(unix.EPERM, "fsopen"), failed(unix.EPERM, "fsopen")
		}), []string{"apparmor-mount"}, Unusable, "mounts in a user namespace"},
		{"AppArmor at mount, EACCES", both(ubuntu, func(s *symptoms) { s.inside.tmpfs = failed(unix.EACCES, "move_mount") }), []string{"apparmor-mount"}, Unusable, ""},
		{"mount refused by something else", func(s *symptoms) { s.inside.tmpfs = failed(unix.EPERM, "fsopen") }, []string{"mount-refused"}, Unusable, ""},
		{"read-only /proc at the map", func(s *symptoms) { s.inside.mapIDs = failed(unix.EROFS, "openat") }, []string{"read-only-proc"}, Unusable, ""},
		{"no /proc", func(s *symptoms) { s.kernel.procMounted, s.inside.mapIDs = false, failed(unix.ENOENT, "openat") }, []string{"no-proc"}, Unusable, "mount -t proc"},
		{"unreadable executable", func(s *symptoms) { s.user.dumpable, s.inside.mapIDs = false, failed(unix.EACCES, "openat") }, []string{"bryo-unreadable"}, Unusable, "chmod a+r"},
		{"map refused for no known reason", func(s *symptoms) { s.inside.mapIDs = failed(unix.EPERM, "write") }, []string{"id-map-refused"}, Unusable, "operation not permitted"},
	})
}

func TestFindingsOfIDs(t *testing.T) {
	check(t, []condition{
		{"no ranges", func(s *symptoms) {
			s.ranges.uids, s.ranges.gids = 0, 0
			s.helpers[0].run, s.helpers[1].run = false, false
		}, []string{"no-subids"}, Degraded, "usermod --add-subuids 165536-231071 --add-subgids 165536-231071 alice"},
		{"no gids", func(s *symptoms) { s.ranges.gids = 0 }, []string{"no-subids"}, Degraded, "usermod --add-subgids 165536-231071 alice"},
		{"no uids", func(s *symptoms) { s.ranges.uids = 0 }, []string{"no-subids"}, Degraded, "in /etc/subuid:"},
		{"no ranges in a directory", func(s *symptoms) { s.ranges.uids, s.ranges.gids, s.ranges.source = 0, 0, "sss" }, []string{"no-subids"}, Degraded, `"sss"`},
		{"no ranges for a uid without a name", func(s *symptoms) { s.ranges.uids, s.ranges.gids, s.user.name = 0, 0, "" }, []string{"no-subids"}, Degraded, "1000:165536:65536"},
		{"few ids", func(s *symptoms) { s.ranges.uids = 1000 }, []string{"few-subids"}, Note, "--add-subuids"},
		{"a malformed file", func(s *symptoms) { s.ranges = ranges{source: "files", err: "line 3"} }, []string{"subids-unreadable"}, Degraded, "line 3"},
		{"no newuidmap", func(s *symptoms) { s.helpers[0] = helper{name: "newuidmap"} }, []string{"newuidmap-missing"}, Degraded, "apt-get install uidmap"},
		{"neither helper", func(s *symptoms) {
			s.helpers = [2]helper{{name: "newuidmap"}, {name: "newgidmap"}}
		}, []string{"newuidmap-missing", "newgidmap-missing"}, Degraded, ""},
		{"newuidmap does not start", func(s *symptoms) { s.helpers[0].refused = unix.ENOEXEC }, []string{"newuidmap-missing"}, Degraded, "exec format error"},
		{"not setuid", both(silent, func(s *symptoms) { s.helpers[0].setuid = false; s.helpers[1].wrote = true }), []string{"newuidmap-not-setuid"}, Degraded, "chmod u+s /usr/bin/newuidmap"},
		{"newgidmap not setuid", both(silent, func(s *symptoms) { s.helpers[1].setuid = false; s.helpers[0].wrote = true }), []string{"newgidmap-not-setuid"}, Degraded, "newgidmap"},
		{"setuid of another", both(silent, func(s *symptoms) { s.helpers[0].owner = 65534; s.helpers[1].wrote = true }), []string{"newuidmap-not-setuid"}, Degraded, "belongs to uid 65534"},
		{"file capabilities in its place", both(silent, func(s *symptoms) {
			for i := range s.helpers {
				s.helpers[i].setuid, s.helpers[i].fileCaps, s.helpers[i].nosuid = false, true, "/usr"
			}
		}), []string{"nosuid-mount"}, Degraded, "remount,suid /usr"},
		{"nosuid mount", both(silent, func(s *symptoms) { s.helpers[0].nosuid, s.helpers[1].nosuid = "/usr", "/usr" }), []string{"nosuid-mount"}, Degraded, "/usr is mounted nosuid"},
		{"no_new_privs", both(silent, func(s *symptoms) { s.guard.noNewPrivs = true }), []string{"no-new-privs"}, Degraded, "no_new_privs is set"},
		{"no_new_privs without harm", func(s *symptoms) { s.guard.noNewPrivs = true }, nil, OK, ""},
		{"newgrp", both(silent, func(s *symptoms) { s.user.gid = 27 }), []string{"gid-differs"}, Degraded, "your gid is 27"},
		{"no passwd entry", func(s *symptoms) {
			silent(s)
			s.user.inPasswd = false
			s.helpers[0].stderr, s.helpers[1].stderr = "Cannot determine your user name.", "Cannot determine your user name."
		}, []string{"no-passwd-entry"}, Degraded, "uid 1000"},
		{"range not granted", func(s *symptoms) {
			silent(s)
			s.helpers[0].stderr = "uid range [1-65536) -> [100000-165536) not allowed"
			s.helpers[1].wrote = true
		}, []string{"range-not-allowed"}, Degraded, "165536) not allowed"},
		{"bounding set", both(silent, func(s *symptoms) { s.guard.boundingSet = 0 }), []string{"bounding-set"}, Degraded, "--cap-add SETUID"},
		{"AppArmor at the helper", both(silent, ubuntu), []string{"apparmor-uid-map"}, Degraded, "userns,"},
		{"a helper fails for no known reason", both(silent, func(s *symptoms) { s.helpers[1].wrote = true }), []string{"newuidmap-failed"}, Degraded, "status 1"},
	})
}

func TestFindingsOfTheSystem(t *testing.T) {
	check(t, []condition{
		{"masked /proc", func(s *symptoms) {
			s.inside.proc, s.kernel.procOvermount = failed(unix.EPERM, "fsmount"), []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/scsi"}
		}, []string{"masked-proc"}, Degraded, "(/proc/acpi, /proc/kcore, /proc/keys, ...)"},
		{"overmounts that do no harm", func(s *symptoms) { s.kernel.procOvermount = []string{"/proc/fs/nfsd"} }, nil, OK, ""},
		{"read-only /proc", func(s *symptoms) { s.inside.proc, s.kernel.procReadOnly = failed(unix.EPERM, "fsmount"), true }, []string{"read-only-proc"}, Degraded, ""},
		{"/proc refused for no known reason", func(s *symptoms) { s.inside.proc = failed(unix.EPERM, "fsmount") }, []string{"proc-refused"}, Degraded, "--pid host"},
		{"no overlay for users", func(s *symptoms) { s.inside.overlay = failed(unix.EPERM, "fsopen") }, []string{"no-overlay"}, Degraded, "5.11"},
		{"no overlay module", func(s *symptoms) { s.inside.overlay = failed(unix.ENODEV, "fsopen") }, []string{"no-overlay"}, Degraded, "modprobe overlay"},
		{"an old kernel", both(answer(unix.ENOSYS, "openat2", "close_range", "mount_setattr"), func(s *symptoms) {
			s.kernel.release = "5.4.0-200-generic"
			s.inside.tmpfs = failed(unix.ENOSYS, "fsopen")
		}), []string{"missing-calls"}, Unusable, "linux 5.4.0-200-generic has no openat2, close_range, mount_setattr"},
		{"the oldest supported kernel", both(answer(unix.ENOSYS, "mount_setattr"), func(s *symptoms) { s.kernel.release = "5.10.0-46-amd64" }), []string{"missing-calls"}, Note, "nothing breaks"},
		{"an old kernel under a filter", both(filtered, answer(unix.ENOSYS, "openat2"), func(s *symptoms) { s.kernel.release = "5.4.0" }), []string{"missing-calls"}, Unusable, ""},
		{"a filter that says ENOSYS", both(filtered, answer(unix.ENOSYS, "open_tree", "fsopen")), []string{"seccomp-calls"}, Unusable, "open_tree, fsopen"},
		{"a filter that says EPERM", both(filtered, answer(unix.EPERM, "mount", "fsopen"), func(s *symptoms) { s.inside.tmpfs = failed(unix.EPERM, "fsopen") }), []string{"seccomp-calls"}, Unusable, "mount, fsopen"},
		{"a filter that kills", func(s *symptoms) { s.inside = inside{ran: attempt{tried: true, signal: unix.SIGSYS}} }, []string{"seccomp-calls"}, Unusable, "kills"},
		{"no landlock", func(s *symptoms) { s.inside.landlock = failed(unix.EOPNOTSUPP, "syscall") }, []string{"no-landlock"}, Note, "lsm="},
		{"no time namespaces", func(s *symptoms) {
			s.kinds = []kindTrial{{ns.PID, attempt{tried: true}}, {ns.Time, failed(unix.EINVAL, "clone3")}}
		}, []string{"no-time-namespace"}, Degraded, "--time host"},
		{"no more network namespaces", func(s *symptoms) { s.kinds = []kindTrial{{ns.Net, failed(unix.ENOSPC, "clone3")}} }, []string{"max-net-namespaces"}, Degraded, "user.max_net_namespaces"},
		{"no mount namespaces", func(s *symptoms) {
			s.kinds = []kindTrial{{ns.Mount, failed(unix.EPERM, "clone3")}}
			s.inside = inside{}
		}, []string{"no-mnt-namespace"}, Unusable, "refused"},
	})
}

func TestFindingsOfPlaces(t *testing.T) {
	check(t, []condition{
		{"no tun", func(s *symptoms) { s.tun = tun{errno: unix.ENOENT}; s.inside.tun = failed(unix.ENOENT, "openat") }, []string{"no-tun"}, Degraded, "--net none"},
		{"another device", func(s *symptoms) { s.tun = tun{exists: true}; s.inside.tun = failed(unix.ENOTTY, "ioctl") }, []string{"no-tun"}, Degraded, "is not the tun device"},
		{"no tun module", func(s *symptoms) { s.tun.errno = unix.ENODEV }, []string{"no-tun"}, Degraded, "modprobe tun"},
		{"tun of root's", func(s *symptoms) { s.tun.errno = unix.EACCES }, []string{"tun-unreadable"}, Degraded, "chmod 0666 /dev/net/tun"},
		{"a control group without devices", func(s *symptoms) { s.tun.errno = unix.EPERM }, []string{"tun-refused"}, Degraded, "--device"},
		{"an old tun", func(s *symptoms) { s.tun.errno = unix.EOPNOTSUPP }, []string{"no-tun"}, Degraded, "too old"},
		{"veth in place of no tun", both(untunneled, veth(0)), []string{"no-tun"}, Note, "a veth pair stands in"},
		{"what is left without tun", both(untunneled, veth(0)), []string{"no-tun"}, Note, "slirp4netns and pasta need it, nothing else does"},
		{"veth in place of root's tun", both(veth(0), func(s *symptoms) { s.tun.errno = unix.EACCES }), []string{"tun-unreadable"}, Note, "chmod 0666 /dev/net/tun"},
		{"neither tun nor veth", both(untunneled, veth(unix.EOPNOTSUPP)), []string{"no-tun"}, Degraded, "and a veth pair in its place is refused"},
		{"a tun that opens is taken", both(veth(0), func(s *symptoms) { s.inside.tun = failed(unix.EPERM, "ioctl") }), []string{"tun-refused"}, Degraded, "--net none"},
		{"no bryo-net", func(s *symptoms) { s.network.program = "" }, []string{"bryo-net-missing"}, Degraded, "make install"},
		{"no bryo-image", func(s *symptoms) { s.image.path = "" }, []string{"bryo-image-missing"}, Degraded, "make install"},
		{"another bryo-image", func(s *symptoms) { s.image.build = "v2" }, []string{"bryo-image-differs"}, Degraded, "bryo is v1, bryo-image v2"},
		{"a bryo-image that says nothing", func(s *symptoms) { s.image.build = "" }, []string{"bryo-image-differs"}, Degraded, "does not say"},
		{"no ping for the group", func(s *symptoms) { s.network.ping = failed(unix.EACCES, "socket") }, []string{"no-ping"}, Note, "sysctl -w net.ipv4.ping_group_range='0 2147483647'\n"},
		{"no ping at boot", func(s *symptoms) { s.network.ping = failed(unix.EACCES, "socket") }, []string{"no-ping"}, Note, "echo 'net.ipv4.ping_group_range = 0 2147483647' >/etc/sysctl.d/"},
		{"no ping by a filter", func(s *symptoms) { s.network.ping = failed(unix.EPERM, "socket") }, []string{"no-ping"}, Note, "socket: operation not permitted"},
		{"no device can be made", func(s *symptoms) { s.inside.tun = failed(unix.EPERM, "ioctl") }, []string{"tun-refused"}, Degraded, "ioctl"},
		{"no XDG_RUNTIME_DIR", func(s *symptoms) { s.runtime = directory{} }, []string{"no-runtime-dir"}, Note, "enable-linger alice"},
		{"XDG_RUNTIME_DIR of another", func(s *symptoms) { s.runtime.owner = 0 }, []string{"runtime-dir-unusable"}, Degraded, "uid 0"},
		{"XDG_RUNTIME_DIR is gone", func(s *symptoms) { s.runtime.errno = unix.ENOENT }, []string{"runtime-dir-unusable"}, Degraded, "no such file"},
		{"noexec home", func(s *symptoms) { s.home.noexec = true }, []string{"noexec-home"}, Degraded, "/home is mounted noexec"},
		{"network home", func(s *symptoms) { s.home.network = "NFS" }, []string{"network-home"}, Degraded, "is on NFS"},
		{"no home", func(s *symptoms) { s.home = directory{} }, []string{"no-home"}, Degraded, "HOME"},
		{"read-only home", func(s *symptoms) { s.home.writable = false }, []string{"read-only-home"}, Degraded, ""},
		{"no cgroup v2", func(s *symptoms) { s.cgroup.Unified = false }, []string{"no-cgroup2"}, Note, "unified_cgroup_hierarchy=1"},
		{"systemd delegates what it does as it comes", func(s *symptoms) { s.cgroup.Manager.Controllers = cgroup.Few() }, []string{"few-controllers"}, Note, "Delegate=cpu cpuset io memory pids"},
		{"no user manager", func(s *symptoms) { s.cgroup.Manager = cgroup.Manager{} }, []string{"no-cgroup"}, Note, "enable-linger"},
		{"no bryo-cgroup", func(s *symptoms) { s.cgroup.Program = "" }, []string{"no-bryo-cgroup"}, Note, "libexec/bryo"},
		{"two causes that have nothing to do with one another", both(refuse(unix.EACCES), ubuntu, func(s *symptoms) { s.home.noexec = true }), []string{"apparmor-userns", "noexec-home"}, Unusable, ""},
	})
}

func untunneled(s *symptoms) {
	s.tun, s.inside.tun = tun{errno: unix.ENOENT}, failed(unix.ENOENT, "openat")
}

func veth(errno unix.Errno) func(*symptoms) {
	return func(s *symptoms) {
		s.network.veth = attempt{tried: true, errno: errno, call: "make a veth pair for eth0"}
	}
}

// Other networks are told of, and missed by nobody.
func TestOtherNetworks(t *testing.T) {
	s := healthy()
	s.network.others = []string{"slirp4netns", "pasta"}
	all := s.findings()
	i := slices.IndexFunc(all, func(f Finding) bool { return f.ID == "other-networks" })
	if i < 0 || all[i].Level != OK || !strings.Contains(all[i].Cause, "slirp4netns, pasta") {
		t.Errorf("got %+v", all)
	}
	s.network.others = nil
	if all := s.findings(); slices.ContainsFunc(all, func(f Finding) bool { return f.ID == "other-networks" }) {
		t.Errorf("got %+v", all)
	}
}

// check holds for every condition what each finding has to be.
func check(t *testing.T, conditions []condition) {
	t.Helper()
	for _, c := range conditions {
		t.Run(c.name, func(t *testing.T) {
			s := healthy()
			c.change(s)
			all := s.findings()
			var got []string
			var said strings.Builder
			for i := range all {
				wellFormed(t, &all[i])
				if f := &all[i]; f.Level != OK {
					got = append(got, f.ID)
					said.WriteString(f.Cause + "\n" + f.Fix + "\n" + f.Script)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if Worst(all) != c.level {
				t.Errorf("verdict %s, want %s", Worst(all), c.level)
			}
			if !strings.Contains(said.String(), c.says) {
				t.Errorf("%q does not say %q", said.String(), c.says)
			}
			bashReads(t, FixScript(all))
		})
	}
}

func wellFormed(t *testing.T, f *Finding) {
	t.Helper()
	if !regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`).MatchString(f.ID) || !slices.Contains(Topics(), f.Topic) {
		t.Errorf("id %q, topic %q", f.ID, f.Topic)
	}
	if f.Cause == "" || f.Level != OK && f.Fix == "" {
		t.Errorf("%s: cause %q, fix %q", f.ID, f.Cause, f.Fix)
	}
	if strings.Contains(f.Cause+f.Fix, "\n") || f.Script != "" && !strings.HasSuffix(f.Script, "\n") {
		t.Errorf("%s: more than one line, or a script without an end", f.ID)
	}
	if advice := f.Advice("run"); len(advice) > 3 {
		t.Errorf("%s: %d lines of advice", f.ID, len(advice))
	}
}

func bashReads(t *testing.T, script string) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to check the script with")
	}
	cmd := exec.CommandContext(t.Context(), bash, "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("bash -n: %v\n%s\n%s", err, out, script)
	}
}

func TestFixScriptTakesHostileNames(t *testing.T) {
	for _, name := range []string{"a b", "$(id)", "o'neil", "a\nreboot", "`id`", "é", "", "END"} {
		s := healthy()
		s.user.name, s.user.program = name, "/opt/"+name+"/bryo"
		s.ranges.uids, s.ranges.gids = 0, 0
		s.home.noexec, s.home.mount = true, "/home/"+name
		ubuntu(s)
		s.inside.mapIDs = failed(unix.EPERM, "write")
		script := FixScript(s.findings())
		bashReads(t, script)
		for _, f := range s.findings() {
			if oneLine(f.Cause+f.Fix) != f.Cause+f.Fix {
				t.Errorf("%q is not one line", f.Cause+f.Fix)
			}
		}
		for line := range strings.Lines(script) {
			if strings.TrimSpace(line) == "reboot" && !strings.Contains(script, "'/home/a\nreboot'") {
				t.Errorf("%q gives a line of its own:\n%s", name, script)
			}
		}
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"alice":  "alice",
		"/usr/a": "/usr/a",
		"":       "''",
		"a b":    "'a b'",
		"a$b/c":  "'a$b/c'",
		"it's":   `'it'\''s'`,
		"x;y":    "'x;y'",
		"a=b":    "'a=b'",
		"~root":  "'~root'",
		"a\nb":   "'a\nb'",
		"\"q\"":  "'\"q\"'",
		"*":      "'*'",
	} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, want %s", word, got, want)
		}
	}
}

func TestAppArmorPathEscapesPatterns(t *testing.T) {
	if got, want := appArmorPath(`/opt/a*[b]{c}"d@e\f`), `/opt/a\*\[b\]\{c\}\"d\@e\\f`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if script := appArmorScript("/opt/a\nb"); script != "" {
		t.Errorf("a path with a line end: %q", script)
	}
}

func TestTopic(t *testing.T) {
	for _, c := range []struct {
		step  string
		errno unix.Errno
		want  string
	}{
		{"clone3", unix.EPERM, "userns"},
		{"clone3", unix.ENOSPC, "userns"},
		{"clone3", unix.ENOSYS, "userns"},
		{"map ids", unix.EPERM, "userns"},
		{"/usr/bin/newuidmap", 0, "ids"},
		{"run /usr/bin/newgidmap", unix.EACCES, "ids"},
		{"mount /proc", unix.EPERM, "proc"},
		{"mount /proc", unix.ENOENT, ""},
		{"mount /sys", unix.EPERM, "mount"},
		{"mount /data", unix.EACCES, "mount"},
		{"attach a layer for writes", unix.EPERM, "mount"},
		{"attach a layer for writes", unix.ENODEV, "mount"},
		{"open /dev/net/tun", unix.ENOENT, "network"},
		{"attach the root file system", unix.ENOSYS, "kernel"},
		{"execute /bin/true", unix.EACCES, "home"},
		{"execute /bin/true", unix.ENOENT, ""},
		{"enter working directory /nowhere", unix.ENOENT, ""},
		{"set limit nofile", unix.EPERM, ""},
	} {
		if got := Topic(c.step, c.errno); got != c.want {
			t.Errorf("Topic(%q, %v) = %q, want %q", c.step, c.errno, got, c.want)
		}
		if got := Topic(c.step, c.errno); got != "" && !slices.Contains(Topics(), got) {
			t.Errorf("%q is no topic", got)
		}
	}
}

func TestAboutKeepsWhatMakesUnusable(t *testing.T) {
	s := healthy()
	refuse(unix.EPERM)(s)
	s.kernel.debianClone = "0"
	s.home.noexec = true
	got := about("proc", s.findings())
	if len(got) != 1 || got[0].ID != "unprivileged-userns-clone" {
		t.Errorf("got %+v", got)
	}
	if f, ok := heaviest(got); !ok || f.ID != "unprivileged-userns-clone" {
		t.Errorf("heaviest is %+v, %v", f, ok)
	}
}

func TestHeaviestLeavesNotes(t *testing.T) {
	s := healthy()
	s.runtime = directory{}
	if f, ok := heaviest(s.findings()); ok {
		t.Errorf("a note explains a failure: %+v", f)
	}
	s.home.noexec = true
	if f, ok := heaviest(s.findings()); !ok || f.ID != "noexec-home" {
		t.Errorf("got %+v, %v", f, ok)
	}
	if _, ok := Cause(""); ok {
		t.Error("no topic has a cause")
	}
}

func TestAdvice(t *testing.T) {
	f := Finding{ID: "x", Topic: "ids", Cause: "why", Fix: "how"}
	if got, want := f.Advice("map ids"), []string{"map ids: why", "fix: how", "more: bryo doctor ids"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPasswdGID(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\nbad\nalice:x:1000:100:,,,:/home/alice:/bin/sh\nalso:x:1000:7::/:\nend:x:5:6"
	for uid, want := range map[uint32]uint32{0: 0, 1000: 100, 5: 6} {
		if gid, ok := passwdGID(passwd, uid); gid != want || !ok {
			t.Errorf("uid %d: %d, %v", uid, gid, ok)
		}
	}
	if gid, ok := passwdGID(passwd, 2); ok || gid != idmap.NoID {
		t.Errorf("a uid without an entry: %d, %v", gid, ok)
	}
}

func TestFirstFree(t *testing.T) {
	for entries, want := range map[string]uint32{
		"":                                   100000,
		"a:100000:65536\n":                   165536,
		"a:100000:65536\nb:231072:65536\n":   296608,
		"a:1:2\nrubbish\nx:y:z\n":            100000,
		"a:4294901760:65535\n":               100000,
		"a:100000:65536\n\nb:165536:65536\n": 231072,
	} {
		if got := firstFree(entries); got != want {
			t.Errorf("firstFree(%q) = %d, want %d", entries, got, want)
		}
	}
}

func TestInstallCommand(t *testing.T) {
	for release, want := range map[string]string{
		"ID=debian\n": "apt-get install uidmap",
		"NAME=\"X\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"": "apt-get install uidmap",
		"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"":        "dnf install shadow-utils",
		"ID=opensuse-leap\nID_LIKE='suse opensuse'":           "zypper install shadow",
		"ID=arch":   "pacman -S shadow",
		"ID=alpine": "apk add shadow-subids",
	} {
		if got := installCommand(release); got != want {
			t.Errorf("installCommand(%q) = %q, want %q", release, got, want)
		}
	}
}

func TestSubidSource(t *testing.T) {
	for conf, want := range map[string]string{"": "files", "passwd: files sss\n": "files", "subid: sss # comment\n": "sss", "subid:\t files": "files", "subid: # none": "files"} {
		if got := subidSource(conf); got != want {
			t.Errorf("subidSource(%q) = %q, want %q", conf, got, want)
		}
	}
}

func TestNetworkName(t *testing.T) {
	for kind, want := range map[uint32]string{unix.NFS_SUPER_MAGIC: "NFS", unix.CIFS_SUPER_MAGIC: "CIFS", 0x0bd00bd0: "Lustre", unix.EXT4_SUPER_MAGIC: "", unix.TMPFS_MAGIC: ""} {
		if got := networkName(kind); got != want {
			t.Errorf("networkName(%#x) = %q, want %q", kind, got, want)
		}
	}
}

func TestOlder(t *testing.T) {
	for release, want := range map[string]bool{"5.10.0": false, "5.9.16-x": true, "4.19": true, "6.1": false, "5.10-rc1": false, "3.10.0-1160.el7": true, "": true} {
		if got := older(release, 5, 10); got != want {
			t.Errorf("older(%q, 5, 10) = %v", release, got)
		}
	}
}

// TestDiagnoseHere only holds what is true on every host: it ends, it leaves
// no child behind, and each topic has something to say unless something makes
// bryo unusable.
func TestDiagnoseHere(t *testing.T) {
	for _, topic := range append(Topics(), "") {
		findings := Diagnose(topic)
		if len(findings) == 0 && Worst(Diagnose("")) < Degraded {
			t.Errorf("%q: nothing is said", topic)
		}
	}
	var status unix.WaitStatus
	if pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}
