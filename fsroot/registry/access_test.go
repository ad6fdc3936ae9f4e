package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"oras.land/oras-go/v2/registry/remote/auth"

	"bryo/fsroot/image"
)

func (s *served) authority() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func TestCertificates(t *testing.T) {
	s := newServed(t, true)
	c := newClient(t, s.host()+"/team/web:1")
	if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority\nfix: put the certificate of its authority in ~/.config/containers/certs.d/"+s.host()) {
		t.Error(err)
	}
	c.request.Unverified = true
	if err := c.pull(t.Context()); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{".config/containers", "etc/containers", "etc/docker"} {
		c := newClient(t, s.host()+"/team/web:1")
		c.write(dir+"/certs.d/"+s.host()+"/ca.crt", s.authority())
		if err := c.pull(t.Context()); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	c = newClient(t, "registry.invalid/team/web:1")
	c.request.Unverified = true
	if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), "could be anybody") {
		t.Error(err)
	}
	c = newClient(t, s.host()+"/team/web:1")
	c.write("etc/docker/certs.d/"+s.host()+"/ca.crt", "moss")
	if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), "has no certificate") {
		t.Error(err)
	}
}

// A registry whose name is an address of IPv6 has a directory with brackets.
func TestCertificatesIPv6(t *testing.T) {
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("there is no IPv6: %v", err)
	}
	defer six.Close()
	s := newServed(t, true)
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, six.Addr().String()+"/team/web:1")
	c.write("cert.pem", s.authority())
	c.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	c.write("etc/docker/certs.d/"+six.Addr().String()+"/ca.crt", s.authority())
	go func() { _ = http.ServeTLS(six, s, c.home+"/cert.pem", c.home+"/key.pem") }()
	if err := c.pull(t.Context()); err != nil {
		t.Error(err)
	}
}

func basic(password string) string {
	return base64.StdEncoding.EncodeToString([]byte("moss:" + password))
}

// asksBasic has a registry ask for a name and a password.
func asksBasic(s *served) {
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Basic "+basic("green:1") {
			return false
		}
		w.Header().Set("Www-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestBasic(t *testing.T) {
	s := newServed(t, true)
	asksBasic(s)
	for name, row := range map[string]struct{ file, text, want string }{
		"podman's, of the session":  {"run/containers/auth.json", `{"auths":{"HOST":{"auth":"GOOD"}}}`, ""},
		"podman's, that stay":       {".config/containers/auth.json", `{"auths":{"HOST":{"auth":"GOOD"}}}`, ""},
		"docker's":                  {".docker/config.json", `{"auths":{"HOST":{"auth":"GOOD"}}}`, ""},
		"docker's, as once":         {".docker/config.json", `{"auths":{"https://HOST/v1/":{"auth":"GOOD"}}}`, ""},
		"of the repository":         {"run/containers/auth.json", `{"auths":{"HOST":{"auth":"BAD"},"HOST/team/web":{"auth":"GOOD"}}}`, ""},
		"of all that the team has":  {"run/containers/auth.json", `{"auths":{"HOST/team":{"auth":"GOOD"},"HOST":{"auth":"BAD"}}}`, ""},
		"of another repository":     {"run/containers/auth.json", `{"auths":{"HOST/team/other":{"auth":"GOOD"}}}`, "asks for credentials\nfix: podman login "},
		"of another registry":       {"run/containers/auth.json", `{"auths":{"registry.invalid":{"auth":"GOOD"}}}`, "asks for credentials\nfix: podman login "},
		"wrong":                     {"run/containers/auth.json", `{"auths":{"HOST":{"auth":"BAD"}}}`, "not for you\nfix: podman login "},
		"of docker's helper":        {".docker/config.json", `{"credsStore":"moss"}`, ""},
		"of the registry's helper":  {"run/containers/auth.json", `{"credHelpers":{"HOST":"moss"}}`, ""},
		"of another's helper":       {"run/containers/auth.json", `{"credHelpers":{"registry.invalid":"moss"}}`, "asks for credentials"},
		"of a helper that is not":   {".docker/config.json", `{"credsStore":"lichen"}`, `"docker-credential-lichen": executable file not found`},
		"of a helper that fails":    {".docker/config.json", `{"credsStore":"broken"}`, "no key for the store"},
		"of a helper that has none": {".docker/config.json", `{"credsStore":"empty"}`, "asks for credentials"},
		"none":                      {".docker/config.json", ``, "asks for credentials"},
		"broken":                    {".docker/config.json", `{`, "config.json: unexpected end"},
		"without a colon":           {".docker/config.json", `{"auths":{"HOST":{"auth":"bW9zcw=="}}}`, "does not conform"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, s.host()+"/team/web:1")
			c.request.Unverified = true
			c.write("bin/docker-credential-moss", `#!/bin/sh
				read -r host
				[ "$1 $host" = "get `+s.host()+`" ] || { echo "asked for $1 $host"; exit 1; }
				echo '{"ServerURL":"","Username":"moss","Secret":"green:1"}'
			`)
			c.write("bin/docker-credential-broken", "#!/bin/sh\necho no key for the store; exit 1\n")
			c.write("bin/docker-credential-empty", "#!/bin/sh\necho credentials not found in native keychain; exit 1\n")
			t.Setenv("PATH", c.home+"/bin:"+os.Getenv("PATH"))
			c.write(row.file, strings.NewReplacer("HOST", s.host(), "GOOD", basic("green:1"), "BAD", basic("brown")).Replace(row.text))
			err := c.pull(t.Context())
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
	c := newClient(t, s.host()+"/team/web:1")
	c.request.Unverified = true
	c.env["REGISTRY_AUTH_FILE"] = c.home + "/mine"
	c.write("mine", `{"auths":{"`+s.host()+`":{"auth":"`+basic("green:1")+`"}}}`)
	if err := c.pull(t.Context()); err != nil {
		t.Error(err)
	}
}

// Tokens that do not last are asked for again, also those of who has logged in
// once and has no password at hand.
func TestTokensEnd(t *testing.T) {
	s := newServed(t, false)
	number := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.PostFormValue("refresh_token") != "evergreen" || r.PostFormValue("service") != "moss" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.mutex.Lock()
		defer s.mutex.Unlock()
		number++
		_ = json.NewEncoder(w).Encode(map[string]string{"access_token": fmt.Sprintf("leaf-%d", number)})
	}))
	t.Cleanup(server.Close)
	used := map[string]bool{}
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		token := r.Header.Get("Authorization")
		if strings.HasPrefix(token, "Bearer leaf-") && !used[token] {
			used[token] = true
			return false
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="`+server.URL+`",service="moss"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	s.manifest.Layers = s.manifest.Layers[:1] // one at a time
	c := newClient(t, s.host()+"/team/web:1")
	c.write(".docker/config.json", `{"auths":{"`+s.host()+`":{"identitytoken":"evergreen"}}}`)
	if err := c.pull(t.Context()); err != nil || number != 3 {
		t.Errorf("%v, with %d tokens", err, number)
	}
}

// A registry may want a certificate of the user's. Others do not see it.
func TestOwnCertificate(t *testing.T) {
	s, elsewhere := newServed(t, true), newServed(t, true)
	for _, server := range []*served{s, elsewhere} {
		server.TLS.ClientAuth = tls.RequestClientCert
		before := server.before
		server.before = func(w http.ResponseWriter, r *http.Request) bool {
			if shown := len(r.TLS.PeerCertificates) > 0; shown != (server == s) {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			if server == s && strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			return before != nil && before(w, r)
		}
	}
	c := newClient(t, s.host()+"/team/web:1")
	pair := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := "etc/containers/certs.d/" + s.host()
	c.write(dir+"/ca.crt", s.authority())
	if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), "not for you") {
		t.Error(err)
	}
	c.write(dir+"/own.cert", s.authority())
	if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), "own.key: no such file") {
		t.Error(err)
	}
	c.write(dir+"/own.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	if err := c.pull(t.Context()); err != nil {
		t.Error(err)
	}
}

// tokens has a registry send who asks to a token server.
func tokens(t *testing.T, s *served) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		query := r.URL.Query()
		if query.Get("service") != "moss" || query.Get("scope") != "repository:team/web:pull" || name != "" && password != "green:1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": "a-token-for-" + name})
	}))
	t.Cleanup(server.Close)
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer a-token-for-") {
			return false
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="`+server.URL+`/token",service="moss",scope="repository:team/web:pull"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestTokens(t *testing.T) {
	for name, row := range map[string]struct{ credentials, want string }{
		"anonymous": {"", ""},
		"a user":    {basic("green:1"), ""},
		"an enemy":  {basic("brown"), "does not take the credentials\nfix: podman login "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t, false)
			tokens(t, s)
			c := newClient(t, s.host()+"/team/web:1")
			if row.credentials != "" {
				c.write("run/containers/auth.json", `{"auths":{"`+s.host()+`":{"auth":"`+row.credentials+`"}}}`)
			}
			err := c.pull(t.Context())
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}

// A registry that speaks https cannot have credentials sent in the clear, nor to
// what only this machine reaches.
func TestTokenRealms(t *testing.T) {
	for realm, want := range map[string]string{
		"http://127.0.0.1:1/token":     "uses http",
		"https://169.254.169.254/":     "169.254.0.0/16",
		"ftp://127.0.0.1/":             "unsupported scheme",
		"https://[::ffff:169.254.1.1]": "169.254.0.0/16",
		"":                             "token",
	} {
		s := newServed(t, true)
		s.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Www-Authenticate", `Bearer realm="`+realm+`",service="moss"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		c := newClient(t, s.host()+"/team/web:1")
		c.request.Unverified = true
		c.write("run/containers/auth.json", `{"auths":{"`+s.host()+`":{"auth":"`+basic("green:1")+`"}}}`)
		if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), want) && realm != "" {
			t.Errorf("%s: %v, want %q", realm, err, want)
		}
	}
}

// Who keeps the blobs does not get to know what the registry does.
func TestRedirectsKeepSecrets(t *testing.T) {
	for name, with := range map[string]func(t *testing.T, s *served){
		"basic": func(_ *testing.T, s *served) { asksBasic(s) },
		"token": func(t *testing.T, s *served) { t.Helper(); tokens(t, s) },
	} {
		t.Run(name, func(t *testing.T) {
			s, elsewhere := newServed(t, false), newServed(t, false)
			with(t, s)
			asks := s.before
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if asks(w, r) {
					return true
				}
				if strings.Contains(r.URL.Path, "/blobs/") {
					http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
					return true
				}
				return false
			}
			c := newClient(t, s.host()+"/team/web:1")
			c.write("run/containers/auth.json", `{"auths":{"`+s.host()+`":{"auth":"`+basic("green:1")+`"}}}`)
			if err := c.pull(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(elsewhere.asked) != 3 || strings.Join(elsewhere.authorized, "") != "" {
				t.Errorf("asked %q with %q", elsewhere.asked, elsewhere.authorized)
			}
		})
	}
}

// A registry elsewhere does not lead to this machine. It is reached through a
// proxy here, which is on this machine: that is the user's word.
func TestProxy(t *testing.T) {
	s, inner := newServed(t, true), newServed(t, true)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "example.com:443" { // which the test's certificate is for
			w.WriteHeader(http.StatusTeapot)
			return
		}
		there, err := net.Dial("tcp", s.host())
		if err != nil {
			t.Error(err)
			return
		}
		defer there.Close()
		here, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer here.Close()
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(there, buffered) }()
		_, _ = io.Copy(here, there)
	}))
	t.Cleanup(func() { proxy.CloseClientConnections(); proxy.Close() })
	c := newClient(t, "example.com/team/web:1")
	c.write("etc/containers/certs.d/example.com/ca.crt", s.authority())
	c.env["https_proxy"] = proxy.URL
	if err := c.pull(t.Context()); err != nil {
		t.Error(err)
	}
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if leads := strings.Contains(r.URL.Path, "/manifests/"); leads {
			http.Redirect(w, r, inner.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	if err := os.RemoveAll(c.home + "/layout/index.json"); err != nil {
		t.Fatal(err)
	}
	if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), "may not lead you") || len(inner.asked) > 0 {
		t.Errorf("%v, and asked for %q", err, inner.asked)
	}
}

func TestPlatforms(t *testing.T) {
	list := []string{"linux/amd64", "linux/arm64/v8", "linux/arm/v5", "linux/arm/v7", "linux/386", "windows/amd64", "unknown/unknown", "linux/amd64/v3", "linux/riscv64/x"}
	for _, row := range []struct{ want, got string }{
		{"linux/amd64", "linux/amd64"},
		{"linux/x86_64", "linux/amd64"},
		{"linux/amd64/v3", "linux/amd64/v3"},
		{"linux/amd64/v2", "fix: --platform, one of linux/amd64 linux/arm64/v8 linux/arm/v5"},
		{"linux/amd64/v1", "linux/amd64"},
		{"linux/arm64", "linux/arm64/v8"},
		{"linux/aarch64", "linux/arm64/v8"},
		{"linux/arm64/v8", "linux/arm64/v8"},
		{"linux/arm", "linux/arm/v7"},
		{"linux/arm/v5", "linux/arm/v5"},
		{"linux/arm/v6", "nothing for linux/arm/v6"},
		{"linux/riscv64", "linux/riscv64/x"},
		{"linux/s390x", "nothing for linux/s390x"},
		{"windows/amd64", "windows/amd64"},
		{"linux", "write OS/ARCH"},
		{"linux/arm/v7/x", "write OS/ARCH"},
		{"/amd64", "write OS/ARCH"},
	} {
		var texts []string
		for i, p := range list {
			parts := strings.Split(p+"/", "/")
			texts = append(texts, fmt.Sprintf(`{"digest":"sha256:%064d","size":1,"platform":{"os":"%s","architecture":"%s","variant":"%s"}}`, i, parts[0], parts[1], parts[2]))
		}
		var d content
		if err := json.Unmarshal([]byte(`{"manifests":[`+strings.Join(texts, ",")+`]}`), &d); err != nil {
			t.Fatal(err)
		}
		want, err := image.ParsePlatform(row.want)
		got := ""
		if err == nil {
			chosen, chooseErr := choose(d.Manifests, want)
			if err = chooseErr; err == nil {
				got = image.Platform{OS: chosen.Platform.OS, Architecture: chosen.Platform.Architecture, Variant: chosen.Platform.Variant}.String()
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != row.got && (err == nil || !strings.Contains(got, row.got)) {
			t.Errorf("%s: %q, want %q", row.want, got, row.got)
		}
	}
}

// An image of one platform is for another.
func TestOtherPlatform(t *testing.T) {
	s := newServed(t, false)
	c := newClient(t, s.host()+"/team/web:1")
	c.request.Platform = "linux/s390x"
	if err := c.pull(t.Context()); err == nil || !strings.Contains(err.Error(), "is for linux/"+this(t).Architecture+" only") {
		t.Error(err)
	}
	s.manifest.Config = s.add(s.manifest.Config.MediaType, []byte(`{"os":"linux","architecture":"s390x"}`))
	c = newClient(t, s.host()+"/team/web:1")
	if err := c.pull(t.Context()); err != nil || !strings.Contains(c.warnings(), "is for linux/s390x, and this machine is") {
		t.Errorf("%v, %q", err, c.warnings())
	}
}

func TestSettings(t *testing.T) {
	const conf = `
unqualified-search-registries = ["quay.example"]
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.example:5000/hub"
[[registry.mirror]]
location = "digests.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.example"
pull-from-mirror = "tag-only"
[[registry]]
prefix = "docker.io/library/debian"
location = "deb.example/debian"
[[registry]]
prefix = "*.moss.example"
location = "moss.example/all"
[[registry]]
prefix = "evil.example"
blocked = true
[[registry]]
location = "broken.example"
[[registry.mirror]]
location = "https://no.example"
[[registry]]
location = "inner.example"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "digests.example"
`
	sum := "@sha256:" + strings.Repeat("a", 64)
	s := &settings{}
	if err := s.add(conf); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"busybox":                  "mirror.example:5000/hub/library/busybox tags.example/library/busybox docker.io/library/busybox",
		"busybox" + sum:            "mirror.example:5000/hub/library/busybox digests.example/library/busybox docker.io/library/busybox",
		"debian:12":                "deb.example/debian",
		"docker.io/library/debian": "deb.example/debian",
		"debian-slim":              "mirror.example:5000/hub/library/debian-slim tags.example/library/debian-slim docker.io/library/debian-slim",
		"a.moss.example/web":       "moss.example/all/web",
		"moss.example/web":         "moss.example/web",
		"evil.example/x":           "registry.conf blocks evil.example",
		"broken.example/x":         `"https://no.example" is no place`,
		"inner.example/x":          "inner.example/x!",
		"other.example/x":          "other.example/x",
	} {
		ref, err := image.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		places, err := s.places(ref)
		for _, p := range places {
			text := p.host + "/" + p.repository
			if p.insecure {
				text += "!"
			}
			got = append(got, text)
		}
		if err != nil {
			got = []string{strings.Replace(err.Error(), "registries", "registry", 1)}
		}
		if all := strings.Join(got, " "); all != want && (err == nil || !strings.Contains(all, want)) {
			t.Errorf("%s: %s, want %s", name, all, want)
		}
	}
	if err := s.add("[[registry]]\nblocked = true"); err == nil {
		t.Error("a registry without a name is taken")
	}
}

// A mirror is asked first, and the registry if it has not what is asked for.
func TestMirrors(t *testing.T) {
	s, mirror := newServed(t, false), newServed(t, false)
	c := newClient(t, "registry.invalid/team/web:1")
	conf := fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\n[[registry.mirror]]\nlocation = %q\n", "registry.invalid", s.host(), mirror.host())
	c.write(".config/containers/registries.conf", conf)
	if err := c.pull(t.Context()); err != nil || len(s.asked) > 0 {
		t.Errorf("%v, and the registry is asked for %q", err, s.asked)
	}
	for name, do := range map[string]func(){
		"has it not": func() { onManifest(mirror, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }) },
		"lies":       func() { mirror.before = nil; mirror.blobs[mirror.layerDigest] = make([]byte, len(mirror.layer)) },
		"is gone":    func() { mirror.Close() },
	} {
		do()
		c := newClient(t, "registry.invalid/team/web:1")
		c.write("etc/containers/registries.conf", conf)
		if err := c.pull(t.Context()); err != nil || !strings.Contains(c.warnings(), "mirror "+mirror.host()) {
			t.Errorf("%s: %v, %q", name, err, c.warnings())
		}
	}
}

func TestCredentialsOfTheHub(t *testing.T) {
	c := newClient(t, "debian")
	c.write(".docker/config.json", `{"auths":{"https://index.docker.io/v1/":{"auth":"`+basic("green")+`"}}}`)
	got, err := c.user().credential(t.Context(), place{host: hub, repository: "library/debian"})
	if want := (auth.Credential{Username: "moss", Password: "green"}); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
}
