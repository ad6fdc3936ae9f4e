package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// diagnosis is what doctor --json prints.
type diagnosis struct {
	Status   string
	Findings []struct{ ID, Topic, Level, Cause, Fix, Script string }

	code int
}

// ids are those of the findings that are not ok.
func (d *diagnosis) ids() []string {
	var ids []string
	for _, f := range d.Findings {
		if f.Level != "ok" {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// clinic is where a condition is made and doctor run under it.
type clinic struct {
	uid, gid uint32
	name     string
	dir      string // a directory that the user may enter
	bryo     string
	home     string
	run      string // XDG_RUNTIME_DIR
	healthy  *diagnosis
}

// newClinic builds bryo, and asks doctor for what this host lacks anyway.
func newClinic(t *testing.T) *clinic {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make what doctor has to find")
	}
	for _, tool := range []string{"unshare", "setpriv", "mount", "newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("conditions are made with it: %v", err)
		}
	}
	dir := t.TempDir()
	c := &clinic{dir: dir, bryo: filepath.Join(dir, "bryo"), home: filepath.Join(dir, "home"), run: filepath.Join(dir, "run")}
	c.findUser(t)
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{c.home, c.run} {
		if err := errors.Join(os.Mkdir(d, 0o700), os.Chown(d, int(c.uid), int(c.gid))); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Dir(c.bryo), "./cmd/bryo", "./cmd/bryo-net", "./cmd/bryo-image")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	c.healthy = c.examine(t, "", c.asUser("--init-groups"))
	if c.healthy.Status == "unusable" {
		t.Skipf("no container starts here anyway: %v", c.healthy.ids())
	}
	return c
}

func (c *clinic) findUser(t *testing.T) {
	t.Helper()
	c.name = os.Getenv("BRYO_TEST_USER")
	if c.name == "" {
		c.name = "bryo-test"
	}
	account, err := user.Lookup(c.name)
	if err != nil {
		t.Skipf("there is no user to run doctor as: %v (BRYO_TEST_USER)", err)
	}
	for id, text := range map[*uint32]string{&c.uid: account.Uid, &c.gid: account.Gid} {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		*id = uint32(n)
	}
}

// asUser is the shell words that run doctor as the user; more are options of
// setpriv.
func (c *clinic) asUser(more ...string) string {
	return c.as(strings.Join(more, " "), "doctor --json")
}

func (c *clinic) as(options, command string) string {
	return fmt.Sprintf("setpriv --reuid %d --regid %d %s env -i %s %s %s", c.uid, c.gid, options, c.env(), c.bryo, command)
}

func (c *clinic) env() string {
	return "HOME=" + c.home + " XDG_RUNTIME_DIR=" + c.run
}

// examine has root make a condition in a mount namespace of its own and run a
// command there, which ends in doctor --json. What the script calls D is an
// own directory.
func (c *clinic) examine(t *testing.T, condition, command string, unshare ...string) *diagnosis {
	t.Helper()
	script := "set -eu; D=$(mktemp -d " + c.dir + "/XXXXXX); chmod 755 $D\n" + condition + "\nexec " + command
	cmd := exec.CommandContext(t.Context(), "unshare", append(unshare, "-m", "--propagation", "private", "sh", "-c", script)...)
	cmd.Dir = "/"
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return diagnosisIn(t, out.Bytes(), complaints.String(), cmd.ProcessState.ExitCode())
}

func diagnosisIn(t *testing.T, out []byte, complaints string, code int) *diagnosis {
	t.Helper()
	d := &diagnosis{code: code}
	if err := json.Unmarshal(out, d); err != nil {
		t.Fatalf("status %d, %v\n%s%s", code, err, out, complaints)
	}
	if want := map[string]int{"usable": 0, "degraded": 1, "unusable": 2}[d.Status]; code != want {
		t.Errorf("exit status %d for %q", code, d.Status)
	}
	return d
}

// expect wants the ids beside what the host lacks anyway, and no others.
func (c *clinic) expect(t *testing.T, got *diagnosis, status string, ids ...string) {
	t.Helper()
	var added []string
	for _, id := range got.ids() {
		if !slices.Contains(c.healthy.ids(), id) {
			added = append(added, id)
		}
	}
	if !slices.Equal(added, ids) {
		t.Errorf("found %v, want %v\n%+v", added, ids, got.Findings)
	}
	levels := []string{"usable", "degraded", "unusable"}
	if want := max(slices.Index(levels, status), slices.Index(levels, c.healthy.Status)); got.code != want {
		t.Errorf("exit status %d, want %d", got.code, want)
	}
}

// TestDoctor makes each condition for real. Two need a virtual machine and are
// not here: Debian's unprivileged_userns_clone, and AppArmor.
func TestAsRootDoctor(t *testing.T) {
	c := newClinic(t)
	t.Run("ids", c.onIDs)
	t.Run("user namespaces", c.onUserNamespaces)
	t.Run("proc", c.onProc)
	t.Run("places", c.onPlaces)
	t.Run("seccomp", c.underSeccomp)
	t.Run("script", c.scriptHelps)
	t.Run("leaves nothing", c.leavesNothing)
}

// overTun is a tmpfs in the place of /dev/net.
const overTun = "mount -t tmpfs -o mode=755 none /dev/net\n"

// noRanges leaves files without entries, which the condition may fill.
const noRanges = "touch $D/u $D/g; mount --bind $D/u /etc/subuid; mount --bind $D/g /etc/subgid\n"

// plainCopy puts a helper without privileges in the helper's place.
func plainCopy(name string) string {
	return fmt.Sprintf("cp /usr/bin/%[1]s $D/%[1]s; chmod 755 $D/%[1]s; mount --bind $D/%[1]s /usr/bin/%[1]s\n", name)
}

// situation is a condition, and what doctor has to say of it.
type situation struct {
	name      string
	condition string
	command   string
	status    string
	want      []string
}

func (c *clinic) hold(t *testing.T, situations []situation, unshare ...string) {
	t.Helper()
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			c.expect(t, c.examine(t, s.condition, s.command, unshare...), s.status, s.want...)
		})
	}
}

func (c *clinic) onIDs(t *testing.T) {
	plain := c.asUser("--init-groups")
	strange := strings.Replace(c.asUser("--clear-groups"), fmt.Sprintf("--regid %d", c.gid), "--regid 65534", 1)
	nobody := noRanges + fmt.Sprintf("grep -v '^%s:' /etc/passwd >$D/p; mount --bind $D/p /etc/passwd; echo %d:300000:65536 | tee $D/u >$D/g", c.name, c.uid)
	c.hold(t, []situation{
		{"no subordinate ids", noRanges, plain, "degraded", []string{"no-subids"}},
		{"no subordinate gids", "touch $D/g; mount --bind $D/g /etc/subgid", plain, "degraded", []string{"no-subids"}},
		{"few subordinate ids", noRanges + "echo " + c.name + ":300000:1000 | tee $D/u >$D/g", plain, "usable", []string{"few-subids"}},
		{"no newuidmap", "mount --bind /dev/null /usr/bin/newuidmap", plain, "degraded", []string{"newuidmap-missing"}},
		{"neither helper", "mount --bind /dev/null /usr/bin/newuidmap; mount --bind /dev/null /usr/bin/newgidmap", plain, "degraded", []string{"newuidmap-missing", "newgidmap-missing"}},
		{"newuidmap not executable", plainCopy("newuidmap") + "chmod 644 $D/newuidmap", plain, "degraded", []string{"newuidmap-missing"}},
		{"newuidmap no program", "echo rubbish >$D/n; chmod 4755 $D/n; mount --bind $D/n /usr/bin/newuidmap", plain, "degraded", []string{"newuidmap-missing"}},
		{"newuidmap not setuid", plainCopy("newuidmap"), plain, "degraded", []string{"newuidmap-not-setuid"}},
		{"newgidmap not setuid", plainCopy("newgidmap"), plain, "degraded", []string{"newgidmap-not-setuid"}},
		{"newuidmap not root's", plainCopy("newuidmap") + "chown nobody $D/newuidmap; chmod u+s $D/newuidmap", plain, "degraded", []string{"newuidmap-not-setuid"}},
		{"nosuid mount", "mount --bind /usr/bin /usr/bin; mount -o remount,bind,nosuid /usr/bin", plain, "degraded", []string{"nosuid-mount"}},
		{"no_new_privs", "", c.asUser("--init-groups", "--no-new-privs"), "degraded", []string{"no-new-privs"}},
		{"another group", "", strange, "degraded", []string{"gid-differs"}},
		{"bounding set", "", c.asUser("--init-groups", "--bounding-set -setuid,-setgid"), "degraded", []string{"bounding-set"}},
		{"no passwd entry", nobody, c.asUser("--clear-groups"), "degraded", []string{"no-passwd-entry"}},
	})
}

// limited asks doctor where no namespace of a kind can be made: the limits of a
// user namespace are its root's to set.
func (c *clinic) limited(kind, topic string) string {
	return fmt.Sprintf("setpriv --reuid %d --regid %d --init-groups unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_%s_namespaces; exec env -i %s %s doctor --json %s'",
		c.uid, c.gid, kind, c.env(), c.bryo, topic)
}

func (c *clinic) onUserNamespaces(t *testing.T) {
	jailed := fmt.Sprintf("chroot --userspec=%d:%d $D /bryo doctor --json userns", c.uid, c.gid)
	c.hold(t, []situation{
		{"max_user_namespaces is 0", "", c.limited("user", "userns"), "unusable", []string{"max-user-namespaces"}},
		{"max_user_namespaces is 0, asked about /proc", "", c.limited("user", "proc"), "unusable", []string{"max-user-namespaces"}},
		{"max_mnt_namespaces is 0", "", c.limited("mnt", "kernel"), "unusable", []string{"max-mnt-namespaces"}},
		{"max_net_namespaces is 0", "", c.limited("net", "kernel"), "degraded", []string{"max-net-namespaces"}},
		{"max_time_namespaces is 0", "", c.limited("time", "kernel"), "degraded", []string{"max-time-namespaces"}},
		{"chroot", "mkdir $D/proc $D/tmp; cp " + c.bryo + " $D/bryo; mount --bind /proc $D/proc", jailed, "unusable", []string{"chroot"}},
		{"read-only /proc", "mount -o remount,bind,ro /proc", c.asUser("--init-groups"), "unusable", []string{"read-only-proc"}},
		{"unreadable executable", "cp " + c.bryo + " " + c.bryo + "-net " + c.bryo + "-image $D/; chmod 711 $D/bryo", strings.Replace(c.asUser("--init-groups"), c.bryo, "$D/bryo", 1), "unusable", []string{"bryo-unreadable"}},
	})
}

func (c *clinic) onProc(t *testing.T) {
	plain := c.asUser("--init-groups")
	c.hold(t, []situation{
		{"nothing is wrong", "", plain, "usable", nil},
		{"a masked directory", "mount -t tmpfs -o ro none /proc/bus", plain, "degraded", []string{"masked-proc"}},
		{"a masked file", "mount --bind /dev/null /proc/timer_list 2>/dev/null || mount --bind /dev/null /proc/meminfo", plain, "degraded", []string{"masked-proc"}},
		{"hidepid", "mount -o remount,hidepid=2 /proc", plain, "usable", nil},
	}, "-pf", "--mount-proc")
}

func (c *clinic) onPlaces(t *testing.T) {
	plain := c.asUser("--init-groups")
	ownHome := fmt.Sprintf("chown %d:%d %s", c.uid, c.gid, c.home)
	c.hold(t, []situation{
		{"no tun", overTun, plain, "usable", []string{"no-tun"}},
		{"another device in its place", overTun + "touch /dev/net/tun; mount --bind /dev/null /dev/net/tun", plain, "usable", []string{"no-tun"}},
		{"tun of root's", overTun + "mknod -m 600 /dev/net/tun c 10 200", plain, "usable", []string{"tun-unreadable"}},
		{"neither tun nor veth", overTun, c.limited("net", "network"), "degraded", []string{"no-tun"}},
		{"no other programs", "cp " + c.bryo + " $D/bryo", strings.Replace(plain, c.bryo, "$D/bryo", 1), "degraded", []string{"bryo-net-missing", "bryo-image-missing"}},
		{"another bryo-image", "cp " + c.bryo + " " + c.bryo + "-net $D; printf '#!/bin/sh\necho v0\n' > $D/bryo-image; chmod 755 $D/bryo-image", strings.Replace(plain, c.bryo, "$D/bryo", 1), "degraded", []string{"bryo-image-differs"}},
		{"no XDG_RUNTIME_DIR", "", strings.Replace(plain, "XDG_RUNTIME_DIR=", "UNSET=", 1), "usable", []string{"no-runtime-dir"}},
		{"XDG_RUNTIME_DIR of root", "mkdir -m 700 $D/run", strings.Replace(plain, c.run, "$D/run", 1), "degraded", []string{"runtime-dir-unusable"}},
		{"XDG_RUNTIME_DIR is gone", "", strings.Replace(plain, c.run, "$D/run", 1), "degraded", []string{"runtime-dir-unusable"}},
		{"noexec home", "mount -t tmpfs -o mode=700,noexec,nosuid none " + c.home + "; " + ownHome, plain, "degraded", []string{"noexec-home"}},
		{"read-only home", "mount --bind " + c.home + " " + c.home + "; mount -o remount,bind,ro " + c.home, plain, "degraded", []string{"read-only-home"}},
		{"data home that is not there yet", "mount -t tmpfs -o mode=777,noexec none $D", strings.Replace(plain, "env -i", "env -i XDG_DATA_HOME=$D/a/b", 1), "degraded", []string{"noexec-home"}},
	})
}

// scriptHelps has root run what doctor prints, and asks again.
func (c *clinic) scriptHelps(t *testing.T) {
	// What the script keeps for the next boot is not for this host.
	const hide = "for d in /etc/udev/rules.d /etc/sysctl.d /etc/modules-load.d; do [ ! -d $d ] || mount -t tmpfs none $d; done\n"
	cure := hide + c.as("--init-groups", "doctor --fix-script") + " >$D/fix || :\ngrep -q '^# '\"$WANT\"': ' $D/fix\nbash -n $D/fix\nsh $D/fix >&2\n"
	for _, s := range []struct{ id, condition string }{
		{"no-subids", noRanges},
		{"newuidmap-not-setuid", plainCopy("newuidmap")},
		{"newgidmap-not-setuid", plainCopy("newgidmap")},
		{"nosuid-mount", "mount --bind /usr/bin /usr/bin; mount -o remount,bind,nosuid /usr/bin\n"},
		{"tun-unreadable", overTun + "mknod -m 600 /dev/net/tun c 10 200\n"},
		{"no-tun", overTun + "touch /dev/net/tun; mount --bind /dev/null /dev/net/tun\n"},
		{"no-ping", "sysctl -qw net.ipv4.ping_group_range='1 0'\n"},
		{"noexec-home", fmt.Sprintf("mount -t tmpfs -o mode=700,noexec none %[1]s; chown %[2]d:%[3]d %[1]s\n", c.home, c.uid, c.gid)},
	} {
		t.Run(s.id, func(t *testing.T) {
			// The sysctls of a network namespace of its own, too, are not the host's.
			got := c.examine(t, s.condition+"WANT="+s.id+"\n"+cure, c.asUser("--init-groups"), "-n")
			c.expect(t, got, c.healthy.Status)
		})
	}
}

func (c *clinic) leavesNothing(t *testing.T) {
	look := "{ ls -A " + c.home + " " + c.run + "; cat /proc/self/mounts; ps -e -o comm= | grep -c bryo || :; } >$D/"
	condition := look + "before\n" + c.as("--init-groups", "doctor") + " >/dev/null || :\n" + look + "after\ndiff $D/before $D/after >&2\n"
	c.examine(t, condition, c.asUser("--init-groups"), "-pf", "--mount-proc")
}
