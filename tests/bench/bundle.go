package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// extent is a line of a map of ids.
type extent struct {
	Container uint32 `json:"containerID"`
	Host      uint32 `json:"hostID"`
	Size      uint32 `json:"size"`
}

// maps are root as the user himself, and then his subordinate ids.
type maps struct{ uids, gids []extent }

// userMaps reads what /etc/subuid and /etc/subgid give to the user.
func userMaps(name string, uid, gid uint32) maps {
	return maps{fileMap("/etc/subuid", name, uid, uid), fileMap("/etc/subgid", name, uid, gid)}
}

func fileMap(file, name string, uid, own uint32) []extent {
	text, _ := os.ReadFile(file) // without it there is one id, and the probe says so
	return parseMap(string(text), name, uid, own)
}

// parseMap reads lines of subuid(5), NAME:START:COUNT.
func parseMap(text, name string, uid, own uint32) []extent {
	extents := []extent{{0, own, 1}}
	next := uint32(1)
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) != 3 || fields[0] != name && fields[0] != strconv.FormatUint(uint64(uid), 10) {
			continue
		}
		start, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 {
			extents = append(extents, extent{next, uint32(start), uint32(count)})
			next += uint32(count)
		}
	}
	return extents
}

// bundle returns the directory of an OCI runtime's bundle for a payload, which
// it makes when it is not there. The configuration is the runtime's own one.
func bundle(s site, m maps, runtime string, p payload) (string, error) {
	dir := filepath.Join(s.bundles(), runtime+"-"+p.name)
	file := filepath.Join(dir, "config.json")
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		return dir, nil
	} else if err != nil {
		return "", err
	}
	path, missing := lookup(runtime)
	if missing != "" {
		return "", errors.New(missing)
	}
	spec := exec.Command(path, "spec", "--rootless")
	spec.Dir = dir
	spec.Env = s.environment()
	if printed, err := spec.CombinedOutput(); err != nil {
		return "", told(err, string(printed))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if text, err = adapt(text, s.root(), m, p); err != nil {
		return "", err
	}
	return dir, os.WriteFile(file, text, 0o600)
}

// adapt turns what the runtime's spec command wrote into the common task.
func adapt(text []byte, root string, m maps, p payload) ([]byte, error) {
	config := map[string]any{}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("read config.json: %w", err)
	}
	linux, ok1 := config["linux"].(map[string]any)
	process, ok2 := config["process"].(map[string]any)
	mounts, ok3 := config["mounts"].([]any)
	if !ok1 || !ok2 || !ok3 {
		return nil, errors.New("config.json lacks linux, process or mounts")
	}
	process["terminal"] = false
	process["args"] = p.argv
	config["root"] = map[string]any{"path": root, "readonly": false}
	linux["uidMappings"], linux["gidMappings"] = m.uids, m.gids
	delete(linux, "resources")
	namespaces := []map[string]string{}
	for _, kind := range []string{"user", "mount", "pid", "network", "ipc", "uts", "cgroup"} {
		namespaces = append(namespaces, map[string]string{"type": kind})
	}
	linux["namespaces"] = namespaces
	for i, mount := range mounts {
		if m, ok := mount.(map[string]any); ok && m["destination"] == "/sys" {
			mounts[i] = sysfs()
		}
	}
	return json.MarshalIndent(config, "", "\t")
}

// sysfs is what a container with an own network namespace can mount; the
// rootless default is the host's whole /sys.
func sysfs() map[string]any {
	return map[string]any{
		"destination": "/sys", "type": "sysfs", "source": "sysfs",
		"options": []string{"nosuid", "noexec", "nodev", "ro"},
	}
}
