package state

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"bryo/idmap"
	"bryo/rootless"
	"bryo/rootless/cgroup"
)

// fill gives everything in a value something else than zero.
func fill(v reflect.Value) {
	switch {
	case v.Kind() == reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				fill(field)
			}
		}
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case v.Kind() == reflect.String:
		v.SetString("1")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(1)
	default:
		v.SetUint(1)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEntrance: the parts that are read are all that decide about a command
// which enters.
func TestEntrance(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if err := os.Chmod(os.Getenv("XDG_RUNTIME_DIR"), dirMode); err != nil {
		t.Fatal(err)
	}
	store, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	config, plan := &Config{}, &rootless.Plan{}
	fill(reflect.ValueOf(config).Elem())
	fill(reflect.ValueOf(plan).Elem())
	config.ID, config.Name = "0123456789ab", "box"
	process := &config.Spec.Process
	process.User, process.Dir, process.Limits = "1", "/1", nil
	all := idmap.Map{{Inside: 0, Outside: 1, Count: 9}}
	plan.IDs.Maps = idmap.Maps{UID: all, GID: all}
	entry, err := store.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := entry.SavePlan(plan); err != nil {
		t.Fatal(err)
	}
	spec, parts, err := entry.Entrance()
	if err != nil {
		t.Fatal(err)
	}
	for _, exec := range []rootless.ExecSpec{
		{Args: []string{"a"}},
		{Args: []string{"a"}, Env: []string{"A=1"}, User: "2", Groups: []string{"3"}, Dir: "/2", Terminal: true, InitFD: 4},
	} {
		facts := &rootless.Facts{Self: plan.Self, Cgroup: cgroup.Facts{Entered: "/bryo-1.scope/bryo-1"}}
		want, err := rootless.CompileExec(&config.Spec, plan, &exec, facts)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rootless.CompileExec(spec, parts, &exec, facts)
		if got, want := asJSON(t, got), asJSON(t, want); err != nil || got != want {
			t.Errorf("%+v: got\n%s, %v, want\n%s", exec, got, err, want)
		}
	}
}
