package tests

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// depot is Debian's registry on this machine, with a certificate of its own.
type depot struct {
	host string
	key  *ecdsa.PrivateKey
	cert []byte // DER
}

// newDepot serves a registry until the test ends. auth is a part of its
// configuration, in which %s is the directory of its files.
func (w *workshop) newDepot(auth func(d *depot) string) *depot {
	w.Helper()
	d := &depot{}
	var err error
	if d.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		w.Fatal(err)
	}
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "moss"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if d.cert, err = x509.CreateCertificate(rand.Reader, certificate, certificate, &d.key.PublicKey, d.key); err != nil {
		w.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(d.key)
	if err != nil {
		w.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // for a port that is free
	if err != nil {
		w.Fatal(err)
	}
	d.host = listener.Addr().String()
	_ = listener.Close()
	dir := w.dir + "/depot"
	w.write("depot/key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	w.write("depot/cert.pem", d.authority())
	w.write("depot/users", "moss:$2a$05$ZfBNzH.rzXbnJEycIpztlOQp0G.mH3qWV8lNh3pWDHroId4FWPPYW\n") // green
	w.write("depot/config.yml", fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %[1]s/data}}\n"+
		"http: {addr: %[2]q, tls: {certificate: %[1]s/cert.pem, key: %[1]s/key.pem}}\n", dir, d.host)+strings.ReplaceAll(auth(d), "%s", dir))
	cmd := w.command("docker-registry", "serve", dir+"/config.yml")
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if w.Failed() {
			w.Logf("docker-registry: %.2000s", said.String())
		}
	})
	const most, pause = 10 * time.Second, 20 * time.Millisecond
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(pause) {
		if c, err := net.Dial("tcp", d.host); err == nil {
			_ = c.Close()
			w.write(".config/containers/certs.d/"+d.host+"/ca.crt", d.authority())
			return d
		}
	}
	w.Fatalf("the registry did not come: %s", said.String())
	return nil
}

func (d *depot) authority() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.cert}))
}

func (w *workshop) write(name, text string) {
	w.Helper()
	path := w.dir + "/" + name
	if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
}

// fill pushes the image of a layout in the kinds that there are: of the OCI, of
// docker, with layers of zstd, and an index with one for another machine.
func (w *workshop) fill(d *depot) {
	w.Helper()
	w.sh(fmt.Sprintf(`to="docker://%[1]s/team/web"
		copy() { skopeo --insecure-policy copy -q --dest-creds moss:green --dest-cert-dir .config/containers/certs.d/%[1]s "$@"; }
		copy oci:layout:web "$to:oci"
		copy --format v2s2 oci:layout:web "$to:docker"
		skopeo --insecure-policy copy -q --dest-decompress oci:layout:web dir:plain
		HOME=$PWD/another copy --dest-compress-format zstd --format oci dir:plain "$to:zstd" # which knows of no others to put in their place`, d.host))
}

// An image comes out of a registry as it went in, whatever its kind.
func TestPullRegistry(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestPullRegistry$")
		return
	}
	w, d := newFilledDepot(t, "auth: {htpasswd: {realm: moss, path: %s/users}}\n")
	out, err := w.command(w.bryo, "pull", d.host+"/team/web:oci", "oci:none").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "asks for credentials\nfix: podman login "+d.host) {
		t.Errorf("%v, %s", err, out)
	}
	w.sh(fmt.Sprintf(`test ! -e none
		printf 'green' | skopeo login --authfile auth.json --username moss --password-stdin --cert-dir .config/containers/certs.d/%[1]s %[1]s
		mkdir containers; mv auth.json containers
		bryo unpack oci:layout:web want
		for tag in oci docker zstd; do
			bryo pull %[1]s/team/web:$tag oci:$tag 2>said
			grep -q "MiB\|KiB\| B" said
			bryo unpack oci:$tag:$tag got-$tag
		done
		grep -q zstd zstd/blobs/sha256/*; grep -q docker.image docker/blobs/sha256/*
		for tag in oci zstd; do skopeo --insecure-policy copy -q oci:$tag:$tag dir:seen-$tag; done`, d.host))
	want := w.listed("want")
	for _, tag := range []string{"oci", "docker", "zstd"} {
		if got := w.listed("got-" + tag); got != want {
			t.Errorf("%s differs:\n%s", tag, difference(want, got))
		}
	}
	digest := strings.TrimSpace(w.sh(`bryo pull -q ` + d.host + `/team/web:oci oci:oci:again`))
	if got := w.sh(`bryo pull ` + d.host + `/team/web@` + digest + ` oci:oci 2>&1`); got != "3 of 3 layers are there\n"+digest+"\n" {
		t.Errorf("the second time: %s", got)
	}
}

// Debian's registry asks for tokens, which it checks by itself.
func TestPullTokens(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestPullTokens$")
		return
	}
	w := newLayers(t)
	var issuer *httptest.Server
	var asked atomic.Int32
	d := w.newDepot(func(d *depot) string {
		issuer = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			d.issue(rw, r)
		}))
		issuer.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{d.cert}, PrivateKey: d.key}}, MinVersion: tls.VersionTLS12}
		issuer.StartTLS()
		t.Cleanup(issuer.Close)
		return "auth: {token: {realm: " + issuer.URL + ", service: moss, issuer: lichen, rootcertbundle: %s/cert.pem}}\n"
	})
	w.fill(d)
	before := asked.Load()
	w.sh(`bryo pull -q ` + d.host + `/team/web:oci oci:got && bryo unpack oci:got new`)
	if asked.Load() != before+1 {
		t.Errorf("asked for %d tokens", asked.Load()-before)
	}
	out, err := w.command(w.bryo, "pull", d.host+"/secret/web", "oci:none").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "or it is not for you") {
		t.Errorf("%v, %s", err, out)
	}
}

// issue makes a token: anybody may pull of the team, and moss may do all.
func (d *depot) issue(w http.ResponseWriter, r *http.Request) {
	name, password, _ := r.BasicAuth()
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	granted := []access{}
	for _, scope := range r.URL.Query()["scope"] {
		parts := strings.SplitN(scope, ":", 3)
		if moss := name == "moss" && password == "green"; len(parts) == 3 && (moss || parts[2] == "pull" && strings.HasPrefix(parts[1], "team/")) {
			granted = append(granted, access{parts[0], parts[1], strings.Split(parts[2], ",")})
		}
	}
	encode := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now().Unix()
	text := encode(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(d.cert)}}) + "." +
		encode(map[string]any{"iss": "lichen", "aud": "moss", "sub": name, "jti": "1", "nbf": now - 60, "iat": now, "exp": now + 600, "access": granted})
	sum := sha256.Sum256([]byte(text))
	a, b, err := ecdsa.Sign(rand.Reader, d.key, sum[:])
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	const half = 32
	signature := append(a.FillBytes(make([]byte, half)), b.FillBytes(make([]byte, half))...)
	_ = json.NewEncoder(w).Encode(map[string]string{"token": text + "." + base64.RawURLEncoding.EncodeToString(signature)})
}

// newLayers makes a workshop with images for a registry.
func newLayers(t *testing.T) *workshop {
	t.Helper()
	w := newWorkshop(t, "docker-registry", "skopeo", "umoci", "tar", "getcap", "setcap")
	w.makeLayers()
	return w
}

// newFilledDepot has a registry with these images; settings are more of its own.
func newFilledDepot(t *testing.T, settings string) (*workshop, *depot) {
	t.Helper()
	w := newLayers(t)
	d := w.newDepot(func(*depot) string { return settings })
	w.fill(d)
	return w, d
}

// An image of a registry comes on the shelf; layers that are there are not asked
// for again. What broke off goes on, or is pruned.
func TestPullToShelf(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestPullToShelf$")
		return
	}
	w, d := newFilledDepot(t, "")
	s := newSlow(t, d)
	ref := s.Listener.Addr().String() + "/team/web:oci"
	downloads := w.dir + "/.local/share/bryo/downloads"
	early := func() {
		w.Helper()
		s.holds.Store(true)
		cmd := w.command(w.bryo, "pull", ref)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-s.ranges
		w.awaitPart(downloads)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		s.holds.Store(false)
	}
	early()
	id := strings.TrimSpace(w.sh("bryo pull -q " + ref))
	if got := <-s.ranges; got != "bytes=51200-" {
		t.Errorf("the second time %q is asked for", got)
	}
	names := w.sh("bryo images; ls " + downloads)
	if !strings.Contains(names, ref+" ") || len(strings.Split(names, "\n")) != 3 {
		t.Errorf("the shelf has\n%s", names)
	}
	said := w.sh(`bryo pull ` + ref + ` 2>&1; bryo pull ` + d.host + `/team/web:docker 2>&1`)
	if said != strings.Repeat("3 of 3 layers are there\n"+id+"\n", 2) || len(s.ranges) > 0 {
		t.Errorf("again: %s, and %d layers are asked for", said, len(s.ranges))
	}
	w.sh("bryo prune --images --all")
	early()
	if left := w.sh("bryo prune --images; find " + downloads + " -mindepth 1"); left != "" {
		t.Errorf("left are %s", left)
	}
}

// slow is a registry behind which another one is: of a blob it sends a part, and
// then waits.
type slow struct {
	*httptest.Server

	holds  atomic.Bool
	ranges chan string // of each large blob that is asked for
	gone   chan bool   // who asked has gone
}

func newSlow(t *testing.T, d *depot) *slow {
	t.Helper()
	to, err := url.Parse("https://" + d.host)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(d.authority()))
	s := &slow{ranges: make(chan string, 100), gone: make(chan bool, 100)}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	proxy.ModifyResponse = func(r *http.Response) error {
		const large, part = 100 << 10, 50 << 10
		if r.ContentLength < large {
			return nil
		}
		s.ranges <- r.Request.Header.Get("Range")
		if s.holds.Load() {
			r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, part), waiting{r.Request, s.gone}))
		}
		return nil
	}
	proxy.FlushInterval = -1
	s.Server = httptest.NewServer(proxy)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

type waiting struct {
	request *http.Request
	gone    chan bool
}

func (w waiting) Read([]byte) (int, error) {
	<-w.request.Context().Done()
	w.gone <- true
	return 0, io.ErrUnexpectedEOF
}

// However a download ends early, what there is of the image is used the next
// time, and nobody goes on downloading.
func TestPullEndsEarly(t *testing.T) {
	if os.Getuid() == 0 {
		asUser(t, "^TestPullEndsEarly$")
		return
	}
	w, d := newFilledDepot(t, "")
	s := newSlow(t, d)
	image := s.Listener.Addr().String() + "/team/web:oci"
	for name, signal := range map[string]syscall.Signal{"interrupted": syscall.SIGINT, "terminated": syscall.SIGTERM, "hung": syscall.SIGHUP, "killed": syscall.SIGKILL} {
		w.pullEarly(s, image, name, signal)
		s.holds.Store(false)
		w.sh("bryo pull -q " + image + " oci:" + name + " && bryo unpack oci:" + name + " root-" + name)
		if got := <-s.ranges; got != "bytes=51200-" {
			t.Errorf("%s: the second time %q is asked for", name, got)
		}
		if left := w.sh("find " + name + " -name '.*'"); left != "" {
			t.Errorf("%s: left are %s", name, left)
		}
	}
}

// pullEarly pulls to a layout, and sends a signal when a part of a layer is there.
func (w *workshop) pullEarly(s *slow, image, layout string, signal syscall.Signal) {
	w.Helper()
	s.holds.Store(true)
	cmd := w.command(w.bryo, "pull", image, "oci:"+layout)
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	if got := <-s.ranges; got != "" {
		w.Errorf("%s: at first %s is asked for", layout, got)
	}
	w.awaitPart(layout)
	if err := cmd.Process.Signal(signal); err != nil {
		w.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); signal != syscall.SIGKILL && code != 128+int(signal) {
		w.Errorf("%s: exit code %d", layout, code)
	}
	select {
	case <-s.gone:
	case <-time.After(10 * time.Second):
		w.Errorf("%s: somebody goes on downloading", layout)
	}
	if _, err := os.Stat(w.dir + "/" + layout + "/index.json"); err == nil {
		w.Errorf("%s: half an image is in the index", layout)
	}
}

// awaitPart waits until the part of a blob that comes is on the disk.
func (w *workshop) awaitPart(layout string) {
	w.Helper()
	const most, pause = 10 * time.Second, 5 * time.Millisecond
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(pause) {
		if w.sh("find "+layout+" -name '.*' -size -52k -size +49k 2>/dev/null || :") != "" {
			return
		}
	}
	w.Fatal("no part of a blob came")
}
