package rootless

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bryo/fsroot"
	"bryo/fsroot/image"
	"bryo/idmap"
	"bryo/netslirp"
)

// spoken is what an image says that says everything.
func spoken() *image.Config {
	return &image.Config{
		Entrypoint: []string{"/bin/echo", "ep"}, Cmd: []string{"cmd1", "cmd2"}, Env: []string{"A=image", "PATH=/opt"}, User: "web", WorkingDir: "srv/../app",
		StopSignal: "SIGINT", Labels: map[string]string{"l1": "image", "l2": "image"}, Volumes: map[string]struct{}{"/data": {}, "/cache/": {}, "/proc/x": {}},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}},
	}
}

// The rules are those of podman 4.3, as its inspect shows them.
func TestTheImagesWord(t *testing.T) {
	argv := func(s *Spec) string {
		return strings.Join(append(slices.Clone(s.Process.Entrypoint), s.Process.Args...), " ")
	}
	env := func(s *Spec) string { return strings.Join(lastOfEach(slices.Clone(s.Process.Env)), " ") }
	labels := func(s *Spec) string { return strings.Join(s.Labels, " ") }
	ports := func(s *Spec) string {
		var list []string
		for _, p := range s.Net.Publish {
			list = append(list, p.String())
		}
		return strings.Join(list, " ")
	}
	mounts := func(s *Spec) string {
		var list []string
		for i := range s.Mounts {
			list = append(list, s.Mounts[i].Type.String()+" "+s.Mounts[i].Source+" "+s.Mounts[i].Target)
		}
		return strings.Join(list, ", ")
	}
	for _, test := range []struct {
		name  string
		asked func(*Spec, *Given)
		got   func(*Spec) string
		want  string
	}{
		{"nothing asked", func(*Spec, *Given) {}, argv, "/bin/echo ep cmd1 cmd2"},
		{"a command takes the place of the image's", func(s *Spec, _ *Given) { s.Process.Args = []string{"x"} }, argv, "/bin/echo ep x"},
		{"an entrypoint, and the command goes", func(s *Spec, g *Given) { s.Process.Entrypoint, g.Entrypoint = []string{"id"}, true }, argv, "id"},
		{"an entrypoint and a command", func(s *Spec, g *Given) {
			s.Process.Entrypoint, s.Process.Args, g.Entrypoint = []string{"id"}, []string{"-u"}, true
		}, argv, "id -u"},
		{"no entrypoint, and the command goes", func(_ *Spec, g *Given) { g.Entrypoint = true }, argv, ""},
		{"variables of the user win", func(s *Spec, _ *Given) { s.Process.Env = []string{"A=user", "B=user"} }, env, "PATH=/opt A=user B=user"},
		{"labels, too", func(s *Spec, _ *Given) { s.Labels = []string{"l2=user", "l3="} }, labels, "l1=image l2=user l3="},
		{"user", func(*Spec, *Given) {}, func(s *Spec) string { return s.Process.User }, "web"},
		{"user asked for", func(s *Spec, _ *Given) { s.Process.User = "0" }, func(s *Spec) string { return s.Process.User }, "0"},
		{"directory", func(*Spec, *Given) {}, func(s *Spec) string { return s.Process.Dir }, "/app"},
		{"directory asked for", func(s *Spec, _ *Given) { s.Process.Dir = "/x" }, func(s *Spec) string { return s.Process.Dir }, "/x"},
		{"stop signal", func(*Spec, *Given) {}, func(s *Spec) string { return s.Process.StopSignal }, "SIGINT"},
		{"stop signal asked for", func(s *Spec, _ *Given) { s.Process.StopSignal = "TERM" }, func(s *Spec) string { return s.Process.StopSignal }, "TERM"},
		{"ports are not published", func(*Spec, *Given) {}, ports, ""},
		{"but with -P", func(_ *Spec, g *Given) { g.PublishAll = true }, ports, "127.0.0.1::53/udp 127.0.0.1::80/tcp"},
		{"and not twice", func(s *Spec, g *Given) {
			list, _ := netslirp.ParsePublish("8080:80")
			s.Net.Publish, g.PublishAll = list, true
		}, ports, "127.0.0.1:8080:80/tcp 127.0.0.1::53/udp"},
		{"volumes", func(*Spec, *Given) {}, mounts, "bind /own/volumes/0 /cache, bind /own/volumes/1 /data"},
		{"volumes where something else is", func(s *Spec, _ *Given) { s.Mounts = []fsroot.Mount{{Type: fsroot.Tmpfs, Target: "/data"}} }, mounts, "tmpfs  /data, bind /own/volumes/0 /cache"},
	} {
		spec, given := &Spec{Root: RootSpec{Image: &ImageRoot{Own: "/own"}}}, &Given{}
		test.asked(spec, given)
		if err := spec.Adopt(spoken(), *given); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := test.got(spec); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	many := map[string]struct{}{}
	for i := range 101 {
		many["/v"+strconv.Itoa(i)] = struct{}{}
	}
	for part, c := range map[string]image.Config{
		"101 volumes": {Volumes: many},
		"Volumes":     {Volumes: map[string]struct{}{"/proc\x00x": {}}}, "WorkingDir": {WorkingDir: "/proc\x00/x"}, "Cmd": {Cmd: []string{"a\x00b"}},
		"Labels": {Labels: map[string]string{"a": "\x00"}}, "User": {User: "root\x00"}, "Env": {Env: []string{"A=\x00B=C"}},
	} {
		spec := &Spec{Root: RootSpec{Image: &ImageRoot{}}}
		if err := spec.Adopt(&c, Given{}); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, mounts %v", part, err, spec.Mounts)
		}
	}
	for port := range map[string]bool{"127.0.0.1:80:80": true, "x": true, "80/sctp": true, "": true, "1-5000": true} {
		spec := &Spec{Root: RootSpec{Image: &ImageRoot{}}}
		if err := spec.Adopt(&image.Config{ExposedPorts: map[string]struct{}{port: {}}}, Given{PublishAll: true}); err == nil {
			t.Errorf("port %q is published", port)
		}
	}
}

func TestCompileStacksLayers(t *testing.T) {
	spec, facts := good()
	spec.Root = RootSpec{Image: &ImageRoot{Name: "web", Layers: []string{"low", "top"}, Volatile: true}}
	spec.Process.Dir, spec.Process.MakeDir, spec.Process.User = "/srv/app", true, "1:2"
	facts.Root.Layers = fsroot.Source{Path: "/shelf/layers/map", Dir: true}
	facts.Root.Top = &Top{Owner: idmap.Identity{UID: facts.Self.UID, GID: facts.Self.GID}, Mode: 0o555}
	pl, err := Compile(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	want := &fsroot.Stack{Dir: facts.Root.Layers, Layers: []string{"low", "top"}, Volatile: true, Top: &fsroot.Top{Mode: 0o555}}
	if !reflect.DeepEqual(pl.Root.Stack, want) {
		t.Errorf("%+v", pl.Root.Stack)
	}
	if dirs := []fsroot.Dir{{Path: "/srv/app", Owner: fsroot.Owner{UID: 1, GID: 2}}}; !slices.Equal(pl.Root.Dirs, dirs) {
		t.Errorf("%+v", pl.Root.Dirs)
	}
	spec.Root.Image.Layers = make([]string, fsroot.MostLayers+1)
	if _, err := Compile(spec, facts); err == nil {
		t.Error("so many layers are stacked")
	}
}
