package peers

import "testing"

const head = "Iface\tDestination\tGateway \tFlags\n"

func TestRoutes4(t *testing.T) {
	for _, row := range []struct {
		name, text  string
		some, whole bool
	}{
		{"none", "", false, false},
		{"the headline", head, false, false},
		{"another interface", head + "lo\t00000000\t00000000\t0001\n", false, false},
		{"its subnet", head + "eth0\t0002000A\t00000000\t0001\n", true, false},
		{"a name that begins alike", head + "eth01\t00000000\t0202000A\t0003\n", false, false},
		{"the default", head + "eth0\t0002000A\t00000000\t0001\neth0\t00000000\t0202000A\t0003\n", true, true},
		{"cut off", head + "eth0", false, false},
	} {
		if some, whole := routes4(row.text); some != row.some || whole != row.whole {
			t.Errorf("%s: %v, %v", row.name, some, whole)
		}
	}
}

func TestRoutes6(t *testing.T) {
	const rest = " 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     "
	for _, row := range []struct {
		name, text string
		want       bool
	}{
		{"none", "", false},
		{"the link's", "fe800000000000000000000000000000" + rest + "eth0\n", false},
		{"groups'", "ff000000000000000000000000000000" + rest + "eth0\n", false},
		{"another interface", "fd000000000000000000000000000000" + rest + "lo\n", false},
		{"a subnet", "fd000000000000000000000000000000" + rest + "eth0\n", true},
		{"the default", "00000000000000000000000000000000" + rest + "eth0\n", true},
	} {
		if got := routes6(row.text); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

func TestSaysLittle(t *testing.T) {
	var b bounded
	for range 100 {
		if n, err := b.Write(make([]byte, 100)); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(b.text) != 2048 {
		t.Errorf("%d bytes are kept", len(b.text))
	}
	if b.begin(); b.tail() != "" {
		t.Errorf("%q is kept", b.tail())
	}
}
