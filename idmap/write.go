package idmap

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Helper returns the absolute path of newuidmap or newgidmap, which write the
// maps that the kernel refuses from a user. Where there is none, the error is
// fs.ErrNotExist and Single is what is left.
func Helper(kind Kind) (string, error) {
	return find("new"+kind.String()+"map", programDirs())
}

// programDirs is where a host keeps its programs. PATH is not asked: who sets
// it would choose what stands in for a setuid program.
func programDirs() []string {
	return []string{
		"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin",
		// NixOS has its setuid programs apart from the others.
		"/run/wrappers/bin", "/run/current-system/sw/bin",
	}
}

func find(name string, dirs []string) (string, error) {
	for _, dir := range dirs {
		path := dir + "/" + name
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s in %s: %w", name, strings.Join(dirs, ":"), fs.ErrNotExist)
}
