package netslirp

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestParseRule(t *testing.T) {
	prefix := netip.MustParsePrefix
	for text, want := range map[string]Rule{
		"*":                        {},
		"*:443":                    {Ports: []PortRange{{443, 443}}},
		"*/udp":                    {Protocol: UDP},
		"*/ICMP":                   {Protocol: ICMP},
		"10.0.0.0/8":               {Prefix: prefix("10.0.0.0/8")},
		"10.0.0.0/8/tcp":           {Prefix: prefix("10.0.0.0/8"), Protocol: TCP},
		"10.0.0.0/8:80,443":        {Prefix: prefix("10.0.0.0/8"), Ports: []PortRange{{80, 80}, {443, 443}}},
		"10.0.0.0/8:80-90/udp":     {Prefix: prefix("10.0.0.0/8"), Ports: []PortRange{{80, 90}}, Protocol: UDP},
		"192.0.2.1":                {Prefix: prefix("192.0.2.1/32")},
		"192.0.2.1:22":             {Prefix: prefix("192.0.2.1/32"), Ports: []PortRange{{22, 22}}},
		"0.0.0.0/0":                {Prefix: prefix("0.0.0.0/0")},
		"::/0":                     {Prefix: prefix("::/0")},
		"2001:db8::/32":            {Prefix: prefix("2001:db8::/32")},
		"2001:db8::1":              {Prefix: prefix("2001:db8::1/128")},
		"2001:db8::1/icmp":         {Prefix: prefix("2001:db8::1/128"), Protocol: ICMP},
		"[2001:db8::/32]:443":      {Prefix: prefix("2001:db8::/32"), Ports: []PortRange{{443, 443}}},
		"[2001:db8::1]:1-9,20/udp": {Prefix: prefix("2001:db8::1/128"), Ports: []PortRange{{1, 9}, {20, 20}}, Protocol: UDP},
		"[::1]":                    {Prefix: prefix("::1/128")},
		"example.org":              {Domain: "example.org"},
		"Example.ORG:443/tcp":      {Domain: "example.org", Ports: []PortRange{{443, 443}}, Protocol: TCP},
		"*.example.org":            {Domain: "*.example.org"},
		"localhost":                {Domain: "localhost"},
		"_dns.xn--bcher-kva.de":    {Domain: "_dns.xn--bcher-kva.de"},
		"1.example":                {Domain: "1.example"},
	} {
		for _, verdict := range []Verdict{Allow, Deny} {
			want.Verdict = verdict
			got, err := ParseRule(verdict, text)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
			}
			again, err := ParseRule(verdict, got.String())
			if err != nil || !reflect.DeepEqual(again, want) {
				t.Errorf("%s: %s becomes %+v, %v", text, got, again, err)
			}
		}
	}
}

func TestParseRuleRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "nothing",
		":80":                                  "nothing",
		"/tcp":                                 "nothing",
		"example.org:":                         "no port",
		"example.org:0":                        "no port",
		"example.org:70000":                    "no port",
		"example.org:80,":                      "no port",
		"example.org:90-80":                    "backwards",
		"example.org:80/icmp":                  "no ports",
		"example.org/sctp":                     "no protocol",
		"example.org/24":                       "no plain address",
		"10.0.0.0/sctp":                        "no protocol",
		"10.0.0.1/8":                           "10.0.0.0/8 has not",
		"10.0.0.0/33":                          "no plain",
		"10.0.0.0/":                            "no plain",
		"10.0.0.0:80/8":                        "no port",
		"10.0.0":                               "no plain",
		"10.0.0.256":                           "no plain",
		"2130706433":                           "no plain",
		"0x7f000001":                           "no plain",
		"fe80::1%eth0":                         "no zones",
		"::ffff:10.0.0.0/104":                  "v4-mapped",
		"::ffff:10.0.0.1":                      "v4-mapped",
		"[2001:db8::]/32":                      "into the brackets",
		"[10.0.0.0/8]:80":                      "brackets are for",
		"[2001:db8::1":                         "not closed",
		"[]:80":                                "brackets are for",
		"2001:db8::/32:443":                    "in brackets",
		"example.org.":                         "without a dot",
		"bücher.example":                       "in ascii",
		"a..b":                                 "each part",
		"*.":                                   "each part",
		"**":                                   "stands alone",
		"a.*.example":                          "stands alone",
		"exa mple.org":                         "in no domain",
		"https://example.org":                  "no port",
		strings.Repeat("a", 64):                "each part",
		strings.Repeat("a.", 150):              "without a dot",
		strings.Repeat("ab.", 99):              "without a dot",
		strings.Repeat("a.b", 99):              "at most 253",
		strings.Repeat("x", 5000):              "longer than",
		"*:" + strings.Repeat("1,", 300) + "1": "more than",
	} {
		_, err := ParseRule(Deny, text)
		if err == nil {
			t.Errorf("%q passes", text)
			continue
		}
		if got := err.Error(); !strings.Contains(got, want) || len(got) > 400 {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{"*", "10.0.0.0/8:80-90/udp", "[2001:db8::/32]:443", "*.example.org:1,2/tcp", "::/0", "a.b/icmp"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := ParseRule(Allow, text)
		if err != nil {
			return
		}
		again, err := ParseRule(Allow, rule.String())
		if err != nil || !reflect.DeepEqual(again, rule) {
			t.Fatalf("%q: %s becomes %s, %v", text, rule, again, err)
		}
		policy := Policy{Rules: []Rule{rule}, Default: DefaultVerdict([]Rule{rule})}
		policy.Decide(TCP, netip.MustParseAddrPort("[::ffff:192.0.2.1]:80"), func(netip.Addr) []string { return []string{text} })
		policy.AllowsName(text)
	})
}

// rules reads "+RULE" as allowed and "-RULE" as denied.
func rules(t *testing.T, texts string) []Rule {
	t.Helper()
	var list []Rule
	for text := range strings.FieldsSeq(texts) {
		verdict := Allow
		if text[0] == '-' {
			verdict = Deny
		}
		rule, err := ParseRule(verdict, text[1:])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rule)
	}
	return list
}

func TestDecide(t *testing.T) {
	names := func(a netip.Addr) []string {
		switch a.String() {
		case "192.0.2.1", "2001:db8::1":
			return []string{"other.example", "registry.example.org"}
		case "192.0.2.2":
			return []string{"example.org"}
		}
		return nil
	}
	for _, row := range []struct {
		rules    string
		protocol Protocol
		dst      string
		want     string // the rule; "" for the default
	}{
		{"-10.0.0.0/8", TCP, "10.1.2.3:80", "-10.0.0.0/8"},
		{"-10.0.0.0/8", TCP, "[::ffff:10.1.2.3]:80", "-10.0.0.0/8"},
		{"-10.0.0.0/8", TCP, "11.1.2.3:80", ""},
		{"+10.1.0.0/16 -10.0.0.0/8", TCP, "10.1.2.3:80", "+10.1.0.0/16"},
		{"-10.0.0.0/8 +10.1.0.0/16", TCP, "10.1.2.3:80", "-10.0.0.0/8"},
		{"+*:443/tcp", TCP, "192.0.2.9:443", "+*:443/tcp"},
		{"+*:443/tcp", UDP, "192.0.2.9:443", ""},
		{"+*:443/tcp", TCP, "192.0.2.9:80", ""},
		{"+*:443", ICMP, "192.0.2.9:443", ""},
		{"+*/icmp", ICMP, "192.0.2.9:0", "+*/icmp"},
		{"+*", ICMP, "[2001:db8::9]:0", "+*"},
		{"-::/0", TCP, "[2001:db8::9]:1", "-::/0"},
		{"-::/0", TCP, "192.0.2.9:1", ""},
		{"-fe80::/10", TCP, "[fe80::1%eth0]:1", "-fe80::/10"},
		{"+registry.example.org:443", TCP, "192.0.2.1:443", "+registry.example.org:443"},
		{"+registry.example.org:443", TCP, "[2001:db8::1]:443", "+registry.example.org:443"},
		{"+registry.example.org:443", TCP, "192.0.2.1:80", ""},
		{"+registry.example.org:443", TCP, "192.0.2.3:443", ""},
		{"+*.example.org", TCP, "192.0.2.1:1", "+*.example.org"},
		{"+*.example.org", TCP, "192.0.2.2:1", ""},
		{"-other.example +registry.example.org", TCP, "192.0.2.1:1", "-other.example"},
	} {
		policy := Policy{Rules: rules(t, row.rules)}
		policy.Default = DefaultVerdict(policy.Rules)
		asked := 0
		got, rule := policy.Decide(row.protocol, netip.MustParseAddrPort(row.dst), func(a netip.Addr) []string {
			asked++
			return names(a)
		})
		text, want := "", policy.Default
		if rule != nil {
			text, want = map[Verdict]string{Allow: "+", Deny: "-"}[rule.Verdict]+rule.String(), rule.Verdict
		}
		if text != row.want || got != want || asked > 1 {
			t.Errorf("%s, %s to %s: %s by %q, %d times asked", row.rules, row.protocol, row.dst, got, text, asked)
		}
	}
	policy := Policy{Rules: rules(t, "+example.org"), Default: Deny}
	if got, _ := policy.Decide(TCP, netip.MustParseAddrPort("192.0.2.2:1"), nil); got != Deny {
		t.Error("an address without names is allowed by one")
	}
}

func TestAllowsName(t *testing.T) {
	for _, row := range []struct {
		rules, name string
		want        bool
	}{
		{"", "example.org", true},
		{"+example.org", "example.org", true},
		{"+example.org", "EXAMPLE.org.", true},
		{"+example.org:443/tcp", "example.org", true},
		{"+example.org", "a.example.org", false},
		{"+*.example.org", "a.b.example.org", true},
		{"+*.example.org", "example.org", false},
		{"+*.example.org", "badexample.org", false},
		{"+*.example.org", ".example.org", false},
		{"+10.0.0.0/8", "example.org", true},
		{"+*:443", "example.org", true},
		{"-evil.example +*:443", "evil.example", false},
		{"+*:443 -evil.example", "evil.example", true},
		{"-evil.example:25 +*:443", "evil.example", true},
		{"-evil.example/udp", "evil.example", true},
		{"-evil.example", "evil.example", false},
		{"-evil.example", "good.example", true},
		{"-10.0.0.0/8", "example.org", true},
		{"-*", "example.org", false},
		{"-*/udp", "example.org", true},
		{"+example.org -* +10.0.0.0/8", "example.com", false},
		{"+example.org", "", false},
		{"+kit.example", "\u212ait.example", false},
	} {
		policy := Policy{Rules: rules(t, row.rules)}
		policy.Default = DefaultVerdict(policy.Rules)
		if got := policy.AllowsName(row.name); got != row.want {
			t.Errorf("%s: %s is %t", row.rules, row.name, got)
		}
	}
}
