package netslirp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParsePublish(t *testing.T) {
	for text, want := range map[string]string{
		"80":                         "127.0.0.1::80/tcp",
		"8080:80":                    "127.0.0.1:8080:80/tcp",
		"8080:80/TCP":                "127.0.0.1:8080:80/tcp",
		"53:53/udp":                  "127.0.0.1:53:53/udp",
		"80/Udp":                     "127.0.0.1::80/udp",
		"127.0.0.1::80":              "127.0.0.1::80/tcp",
		"0.0.0.0:80:80":              "0.0.0.0:80:80/tcp",
		"[::]:80:80":                 "[::]:80:80/tcp",
		"[::1]:8080:80":              "[::1]:8080:80/tcp",
		"[::1]::80/udp":              "[::1]::80/udp",
		"[::ffff:127.0.0.1]:8080:80": "127.0.0.1:8080:80/tcp",
		"8000-8002:80-82":            "127.0.0.1:8000:80/tcp 127.0.0.1:8001:81/tcp 127.0.0.1:8002:82/tcp",
		"80-81":                      "127.0.0.1::80/tcp 127.0.0.1::81/tcp",
		"65535:65535":                "127.0.0.1:65535:65535/tcp",
	} {
		list, err := ParsePublish(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, one := range list {
			got = append(got, one.String())
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	all, err := ParsePublish("1-65535:1-65535")
	if err != nil || len(all) != 65535 || all[65534].HostPort != 65535 || all[65534].ChildPort != 65535 {
		t.Error(len(all), err)
	}
}

func TestParsePublishRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "no port",
		":80":                 "leave out its colon",
		":":                   "leave out its colon",
		"::80":                "no address",
		"80:":                 "container port",
		"0":                   "no port",
		"0:80":                "host port",
		"65536":               "no port",
		"080":                 "no port",
		"+80":                 "no port",
		"80-79":               "backwards",
		"80-":                 "no port",
		"8000-8001:80":        "different lengths",
		"8000:80-81":          "different lengths",
		"80/sctp":             "sctp",
		"80/":                 "no protocol",
		"80/tcp/udp":          "no protocol",
		"localhost:80:80":     "not looked up",
		"127.0.0.1:80":        "no HOST:CONTAINER",
		"[::1]:80":            "no HOST:CONTAINER",
		"[::1]80:80":          "bracket",
		"[::1":                "bracket",
		"[::1]:80:80:80":      "no HOST:CONTAINER",
		"[fe80::1%eth0]:80:8": "zone",
		"[127.0.0.1]:80:80":   "brackets are for",
		"::1:80:80":           "stands in brackets",
		"2001:db8::1:80:80":   "stands in brackets",
		"1.2.3.4:1:2:3":       "too many colons",
		"127.0.0.1:80:80\n":   "no port",
		"127.0.0.1.:80:80":    "no address",
	} {
		_, err := ParsePublish(text)
		if err == nil {
			t.Errorf("%q passes", text)
			continue
		}
		if got := err.Error(); !strings.Contains(got, want) || !strings.HasSuffix(got, "as 8080:80") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParsePublish(f *testing.F) {
	for _, seed := range []string{"80", "[::1]:1-9:1-9/udp", "127.0.0.1::80", "0.0.0.0:80:80/TCP", "a:b:c/sctp"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParsePublish(text)
		if err != nil {
			return
		}
		if len(list) == 0 || len(list) > 65535 {
			t.Fatal(len(list))
		}
		for _, one := range []Publish{list[0], list[len(list)-1]} {
			if one.ChildPort == 0 || !one.HostIP.IsValid() || one.HostIP.Zone() != "" {
				t.Fatalf("%q: %v", text, one)
			}
			again, err := ParsePublish(one.String())
			if err != nil || !slices.Equal(again, []Publish{one}) {
				t.Fatalf("%q: %v becomes %v, %v", text, one, again, err)
			}
		}
	})
}

func TestReserved(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1":                      "loopback",
		"127.255.0.3":                    "loopback",
		"::ffff:127.0.0.1":               "loopback",
		"::127.0.0.1":                    "loopback within IPv6",
		"64:ff9b::7f00:1":                "loopback within IPv6",
		"64:ff9b:1:7f00:0:100::":         "loopback within IPv6",
		"64:ff9b:1::127.0.0.1":           "loopback within IPv6",
		"2002:7f00:1::":                  "loopback within IPv6",
		"2002:a9fe:a9fe::1":              "cloud metadata within IPv6",
		"2001:0:5db8:d822:0:0:80ff:fffe": "loopback within IPv6",
		"::ffff:0:127.0.0.1":             "loopback within IPv6",
		"::1":                            "loopback",
		"::":                             "unspecified",
		"0.0.0.0":                        "unspecified",
		"0.1.2.3":                        "this network",
		"169.254.169.254":                "cloud metadata",
		"169.254.1.1":                    "link-local",
		"100.100.100.200":                "cloud metadata",
		"192.0.0.192":                    "cloud metadata",
		"168.63.129.16":                  "cloud metadata",
		"224.0.0.1":                      "multicast",
		"239.255.255.250":                "multicast",
		"255.255.255.255":                "broadcast",
		"240.0.0.1":                      "reserved",
		"fe80::1%eth0":                   "link-local",
		"febf::1":                        "link-local",
		"fec0::1":                        "site-local",
		"ff02::1":                        "multicast",
		"fd00:ec2::254":                  "cloud metadata",
		"fd20:ce::254":                   "cloud metadata",
		"fd00:c1::a9fe:a9fe":             "cloud metadata",
		"100::1":                         "discarded",
		"2001:0:7f00:1:0:0:f7f7:f7f7":    "loopback within IPv6",
		"10.0.2.2":                       "",
		"10.0.2.3":                       "",
		"fd00::2":                        "",
		"8.8.8.8":                        "",
		"192.168.1.1":                    "",
		"100.64.0.1":                     "",
		"2001:db8::1":                    "",
		"2002:808:808::1":                "",
		"64:ff9b:1::8.8.8.8":             "",
		"64:ff9b:1:808:8:800::":          "",
		"64:ff9b:1::":                    "unspecified within IPv6",
		"64:ff9b::8.8.8.8":               "",
		"2001:0:808:808:0:0:f7f7:f7f7":   "",
		"2606:4700:4700:0:0:0:7f00:1":    "",
		"::ffff:8.8.8.8":                 "",
	} {
		if got := Reserved(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if Reserved(netip.Addr{}) == "" {
		t.Error("no address is reached")
	}
}

// Whatever form carries it, an address of IPv4 that is reserved stays so.
func FuzzReserved(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte{169, 254, 169, 254})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 16 {
			Reserved(netip.AddrFrom16([16]byte(raw)))
		}
		if len(raw) != 4 {
			return
		}
		plain := netip.AddrFrom4([4]byte(raw))
		if Reserved(plain) == "" {
			return
		}
		at := func(prefix string, i int) netip.Addr {
			a := netip.MustParseAddr(prefix).As16()
			copy(a[i:], raw)
			return netip.AddrFrom16(a)
		}
		for _, a := range []netip.Addr{
			at("::ffff:0:0", 12), at("::", 12), at("64:ff9b::", 12), at("64:ff9b:1::", 12), at("2002::", 2), at("::ffff:0:0:0", 12),
		} {
			if Reserved(a) == "" {
				t.Fatalf("%s passes as %s", plain, a)
			}
		}
	})
}
