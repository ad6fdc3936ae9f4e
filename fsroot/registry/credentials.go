package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// credentialFiles are those of podman and docker, the first of which that knows
// a registry counts.
func (u user) credentialFiles() []string {
	if named := u.getenv("REGISTRY_AUTH_FILE"); named != "" {
		return []string{named}
	}
	run := u.getenv("XDG_RUNTIME_DIR")
	if run == "" {
		run = filepath.Join("/run/containers", strconv.Itoa(os.Getuid()))
	}
	docker := u.getenv("DOCKER_CONFIG")
	if docker == "" {
		docker = u.home(".docker")
	}
	return []string{
		filepath.Join(run, "containers", "auth.json"),
		filepath.Join(run, "auth.json"),
		filepath.Join(u.config(), "containers", "auth.json"),
		filepath.Join(docker, "config.json"),
	}
}

// hub is what Docker's own registry is called in references; it has other names
// as a server, and in docker's files.
const (
	hub       = "docker.io"
	hubServer = "registry-1.docker.io"
)

// credential looks for the credentials for a repository, which may have some of
// its own. A helper may be run for them.
func (u user) credential(ctx context.Context, p place) (auth.Credential, error) {
	const patience = time.Minute // a helper may ask its user
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, name := range u.credentialFiles() {
		keys, err := credentialKeys(name, p)
		if err != nil {
			return auth.EmptyCredential, fmt.Errorf("%s: %w", name, err)
		}
		if len(keys) == 0 {
			continue
		}
		store, err := credentials.NewStore(name, credentials.StoreOptions{})
		if err != nil {
			return auth.EmptyCredential, err
		}
		for _, key := range keys {
			found, err := store.Get(ctx, key)
			if err != nil {
				return auth.EmptyCredential, fmt.Errorf("credentials for %s: %w\nfix: mend what %s says of them", key, err, name)
			}
			if found != auth.EmptyCredential {
				return found, nil
			}
		}
	}
	return auth.EmptyCredential, nil
}

// credentialFile is what is looked at in one before the library reads it.
type credentialFile struct {
	Auths       map[string]json.RawMessage `json:"auths"`
	CredsStore  string                     `json:"credsStore"`
	CredHelpers map[string]string          `json:"credHelpers"`
}

// credentialKeys are the names under which a file may have credentials for a
// repository, the closest first. A helper is asked for the registry as a whole.
func credentialKeys(name string, p place) ([]string, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || len(text) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file credentialFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	return file.keys(p), nil
}

func (f *credentialFile) keys(p place) (keys []string) {
	for key := p.host + "/" + p.repository; strings.Contains(key, "/"); key = key[:strings.LastIndexByte(key, '/')] {
		if _, there := f.Auths[key]; there {
			keys = append(keys, key)
		}
	}
	hosts := []string{p.host}
	if p.host == hub {
		hosts = []string{hub, "https://index.docker.io/v1/", hubServer}
	}
	for _, host := range hosts {
		if f.CredsStore != "" || f.CredHelpers[host] != "" || f.has(host) {
			keys = append(keys, host)
		}
	}
	return keys
}

// has looks for a registry's name, also as docker once wrote it, with a scheme.
// One with a repository is for that repository only.
func (f *credentialFile) has(host string) bool {
	if _, there := f.Auths[host]; there {
		return true
	}
	for key := range f.Auths {
		if _, rest, old := strings.Cut(key, "://"); old && (rest == host || strings.HasPrefix(rest, host+"/")) {
			return true
		}
	}
	return false
}

// trust is whom a registry's certificate has to be from, and what it may see of
// ours: the machine's own, and the directories of podman and docker.
func (u user) trust(host string) (*tls.Config, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the machine's certificates: %w", err)
	}
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	for _, dir := range []string{
		filepath.Join(u.config(), "containers", "certs.d"),
		filepath.Join(u.etc, "containers", "certs.d"),
		filepath.Join(u.etc, "docker", "certs.d"),
	} {
		dir = filepath.Join(dir, host)
		authorities, err := filesIn(dir, ".crt")
		if err != nil {
			return nil, err
		}
		for _, name := range authorities {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			if !pool.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("%s has no certificate", name)
			}
		}
		own, err := filesIn(dir, ".cert")
		if err != nil {
			return nil, err
		}
		for _, name := range own {
			pair, err := tls.LoadX509KeyPair(name, strings.TrimSuffix(name, ".cert")+".key")
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			config.Certificates = append(config.Certificates, pair)
		}
		if len(authorities)+len(own) > 0 {
			break
		}
	}
	return config, nil
}
